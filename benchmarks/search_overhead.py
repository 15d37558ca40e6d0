"""What masks cost a step of adversarial training: ``python -m benchmarks.search_overhead``.

Both sides make the identical step (attack, loss, gradients, SGD with momentum on a tensor of every weight's
shape). The baseline has the masked weights as plain parameters, and selects nothing: its learning rate is 0.
The mask search has scores that move, so that every layer selects anew at every step, and passes gradients
straight through. Equal losses, and gradients that differ by the weights alone, come before any time. Records
of the same model, batch and attack are replaced.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Generator, Tensor, nn
from torch.nn import functional

from benchmarks import _records
from holdfast import models
from holdfast.core.result import Label, Record
from holdfast.core.stats import bootstrap
from holdfast.core.timing import time_pairs
from holdfast.subnet import Subnetwork, adaptive_counts
from holdfast.subnet.layers import MaskedConv2d, masked_layers, prunable, replace
from holdfast.subnet.subnetwork import Recipe
from holdfast.training import objectives

RECORDS = Path(__file__).parent / "records" / "search_overhead.jsonl"
SIZES = {"resnet18": (3, 32), "resnet34": (3, 32), "convnet": (1, 8)}
RATE, P, EPS, LR = 0.99, 0.1, 8 / 255, 0.1
KEY = ("model", "batch", "attack_steps", "threads")


def subnetwork(name: str, seed: int) -> Subnetwork:
    """The network as a search begins with it."""
    channels, size = SIZES[name]
    options = {"norm": "batch_no_affine", "last_norm": True, "stem": "cifar" if size == 32 else None}
    config = models.create(name, in_channels=channels, classes=10, size=size, **options).config
    plain = models.create(**config.arguments())
    sizes = [layer.weight.numel() for layer in prunable(plain).values()]
    return Subnetwork(config, Recipe(seed, adaptive_counts(sizes, RATE, P)))


def with_fixed_weights(model: nn.Module) -> nn.Module:
    """A copy whose layers have the masked weights as plain parameters."""
    model = copy.deepcopy(model)
    for name, layer in masked_layers(model).items():
        weight = layer.effective_weight().detach().clone()
        if isinstance(layer, MaskedConv2d):
            shape = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding
            plain: nn.Module = nn.Conv2d(*shape, bias=False)  # type: ignore[arg-type]
        else:
            plain = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        plain.weight = nn.Parameter(weight)
        replace(model, name, plain)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def step(model: nn.Module, x: Tensor, y: Tensor, attack_steps: int, lr: float) -> Callable[[], Tensor]:
    """One step of training, to be called again and again."""
    objective = objectives.create("pgd", eps=EPS, steps=attack_steps)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)

    def call() -> Tensor:
        optimizer.zero_grad()
        loss = objective(model, x, y, Generator().manual_seed(0))
        loss.backward()
        optimizer.step()
        return loss.detach()

    return call


def measure(
    name: str, batch: int, attack_steps: int, pairs: int, seed: int
) -> tuple[list[float], float, float]:
    """The paired ratios and the medians of both sides in ms. Raises AssertionError where these differ."""
    torch.manual_seed(seed)
    channels, size = SIZES[name]
    x = torch.rand(batch, channels, size, size).to(memory_format=torch.channels_last)
    y = torch.arange(batch) % 10
    search = subnetwork(name, seed).model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fixed = with_fixed_weights(search)
    _same(search, fixed, x, y)
    searching, baseline = step(search, x, y, attack_steps, LR), step(fixed, x, y, attack_steps, 0.0)
    timing = time_pairs(baseline, searching, pairs, warmup=2)
    return list(timing.b_ms / timing.a_ms), float(np.median(timing.a_ms)), float(np.median(timing.b_ms))


def _same(search: nn.Module, fixed: nn.Module, x: Tensor, y: Tensor) -> None:
    losses = [functional.cross_entropy(model(x), y) for model in (search, fixed)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    for at, layer in masked_layers(search).items():
        expected = fixed.get_submodule(at).weight.grad * layer.weight  # type: ignore[operator]
        largest = float(expected.abs().max())
        torch.testing.assert_close(layer.scores.grad, expected, rtol=1e-3, atol=1e-4 * largest)


def record(name: str, batch: int, attack_steps: int, pairs: int, processes: int) -> Record:
    """``pairs`` pairs in all, over ``processes`` fresh processes."""
    runs = []
    for seed in range(processes):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            each = -(-pairs // processes)
            runs.append(pool.submit(measure, name, batch, attack_steps, each, seed).result())
    ratios = np.concatenate([run[0] for run in runs])
    labels: dict[str, Label] = {
        "model": name,
        "batch": batch,
        "attack_steps": attack_steps,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "prune_rate": RATE,
        "p": P,
        "baseline": "masked weights as parameters, nothing selected",
        "baseline_ms": round(float(np.median([run[1] for run in runs])), 3),
        "search_ms": round(float(np.median([run[2] for run in runs])), 3),
    }
    return Record(
        metric="time_ratio",
        value=float(np.median(ratios)),
        unit="search/baseline",
        direction="lower",
        n=len(ratios),
        interval=bootstrap(ratios, seed=0),
        timed=True,
        seed=0,
        labels=labels,
    )


def main() -> None:
    """Measure, print a table, replace the records of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=["resnet18", "convnet"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--attack-steps", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # read by a process when it starts
    torch.set_num_threads(arguments.threads)
    table = Table("model", "batch", "attack steps", "baseline ms", "search ms", "ratio", "95 % interval")
    for name in arguments.models:
        for steps in arguments.attack_steps:
            made = record(name, arguments.batch, steps, arguments.pairs, arguments.processes)
            _records.replace(arguments.out, [made], lambda r: tuple(r.labels[label] for label in KEY))
            assert made.interval is not None
            table.add_row(
                name,
                str(arguments.batch),
                str(steps),
                f"{made.labels['baseline_ms']:.1f}",
                f"{made.labels['search_ms']:.1f}",
                f"{made.value:.3f}",
                f"{made.interval.low:.3f}–{made.interval.high:.3f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
