"""What a soft error costs: ``python -m benchmarks.fault_price``.

Pairs of the same call of a protected model on the same input, without and with one fault, in turn in one
process; each layer is struck in its turn. What strikes runs in both calls, in one it adds zeros:

    block     one number of the output
    row       an element of D: the outputs of one image that read it, of all channels
    column    an element of W: the outputs of one channel, of all images

``fault_price`` is the time with the fault over the time without it. ``fault_price_beyond_layer`` is that
less the struck layer's share of the model: what computing that layer once more costs. ``first`` is the price
of the first fault that a layer meets. Random weights, inference mode, one allocator that keeps its memory.
That each fault was found in its layer, once, and corrected comes before any time. Records of the same model,
batch, path and pattern are replaced.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks import _records
from benchmarks.fused_overhead import ALLOCATOR, TOLERANCE
from holdfast import kernels, models, protect
from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.protect import Protected
from holdfast.core.result import Label, Record
from holdfast.core.stats import bootstrap

RECORDS = Path(__file__).parent / "records" / "fault_price.jsonl"
MODELS = ("resnet18", "resnet50", "alexnet")
PATHS = ("fast", "module")
PATTERNS = ("block", "row", "column")


@dataclass
class Target:
    """A layer and what its next product meets; ``seconds``: how long the layer took last."""

    layer: ProtectedLayer
    shape: torch.Size | None = None
    scale: float = 0.0
    pending: tuple[Tensor, ...] | None = None
    seconds: float = 0.0

    def strike(self, out: Tensor) -> None:
        """Add the pending error, once; the first call of all looks at the output that it sees."""
        blocks = self.layer.canonical(out)
        if self.shape is None:
            self.shape, self.scale = blocks.shape, 10 * float(blocks.abs().max())
        if self.pending is not None:
            (*index, error), self.pending = self.pending, None
            blocks[tuple(index)] += error

    def faults(self, pattern: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Zeros and errors, with their places: another image, channel and position each time."""
        assert self.shape is not None
        n, m, *size = self.shape
        window = self.layer.window()
        image, channel, *at = (torch.randint(extent, ()) for extent in self.shape)
        everywhere = torch.meshgrid(torch.arange(n), *map(torch.arange, size), indexing="ij")
        if pattern == "block":
            index = (image, channel, *at)
        elif pattern == "row":
            reach = [-(-k // s) for k, s in zip(window.size, window.stride, strict=True)]
            near = [torch.arange(int(a), min(int(a) + r, e)) for a, r, e in zip(at, reach, size, strict=True)]
            rows = torch.arange(m).view(-1, *[1] * len(size))
            index = (image, rows, *(torch.meshgrid(*near, indexing="ij") if near else ()))
        else:
            index = (everywhere[0], channel, *everywhere[1:])
        error = torch.randn(torch.broadcast_shapes(*(each.shape for each in index)))
        error = self.scale * (error + error.sign())
        return (*index, torch.zeros_like(error)), (*index, error)


def targets(protected: Protected, path: str) -> list[Target]:
    """The layers of ``protected``, each listening for its strike and timing itself."""
    found = []
    for layer in protected.layers():
        target = Target(layer)
        fused = protected.fast.layer(layer.name) if path == "fast" and protected.fast is not None else None
        if fused is not None:
            fused.multiply = _struck(target, fused.multiply)  # type: ignore[method-assign]
            fused.run = _timed(target, fused.run)  # type: ignore[method-assign]
        elif path == "module":
            layer.fault_site.register_forward_hook(lambda _, __, out, target=target: target.strike(out))
            layer.checked = _timed(target, layer.checked)  # type: ignore[method-assign]
        else:
            continue
        found.append(target)
    return found


def _struck(target: Target, multiply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def struck(x: Tensor) -> Tensor:
        out = multiply(x)
        target.strike(out)
        return out

    return struck


def _timed(target: Target, run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def timed(*args: Any) -> Tensor:
        start = perf_counter()
        out = run(*args)
        target.seconds = perf_counter() - start
        return out

    return timed


Prices = dict[str, dict[str, list[tuple[float, float, float]]]]
"""By pattern and layer: time without and with the fault in ms, and the layer's share, of each pair."""


def measure(name: str, batch: int, path: str, rounds: int, layers: int, seed: int) -> Prices:
    """``rounds`` pairs of each pattern in ``layers`` layers, evenly chosen.

    Raises AssertionError for a fault that was not corrected.
    """
    torch.manual_seed(seed)
    plain = models.create(name, in_channels=3, classes=1000, size=224).eval()
    plain = plain.to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, 224, 224).to(memory_format=torch.channels_last)
    protected = protect(plain, plan=None, fuse=path == "fast")
    prices: Prices = {pattern: {} for pattern in PATTERNS}
    with torch.inference_mode():
        for _ in range(3):
            clean = protected(x)
        struck = targets(protected, path)
        for _ in range(2):
            clean = protected(x)
        scale = float(clean.abs().max())
        chosen = np.linspace(0, len(struck) - 1, min(layers, len(struck))).round().astype(int)
        for _ in range(rounds):
            for target in (struck[index] for index in chosen):
                for pattern in PATTERNS:
                    target.pending, harmful = target.faults(pattern)
                    without, _ = _call(protected, x)
                    share = target.seconds * 1e3 / without
                    assert not protected.events, f"{name}: a false alarm"
                    target.pending = harmful
                    with_fault, out = _call(protected, x)
                    seen = [(event.layer, event.corrected) for event in protected.events]
                    assert seen == [(target.layer.name, True)], f"{target.layer.name}, {pattern}: {seen}"
                    difference = float((out - clean).abs().max()) / scale
                    assert difference <= TOLERANCE, f"{target.layer.name}, {pattern}: {difference:.2g} off"
                    protected.clear_events()
                    kept = prices[pattern].setdefault(target.layer.name, [])
                    kept.append((without, with_fault, share))
    return prices


def _call(model: nn.Module, x: Tensor) -> tuple[float, Tensor]:
    start = perf_counter()
    out = model(x)
    return (perf_counter() - start) * 1e3, out


def records(name: str, batch: int, path: str, rounds: int, layers: int, processes: int) -> list[Record]:
    """Two records for each pattern, of ``rounds`` pairs a layer in each of ``processes`` fresh processes."""
    runs = []
    for seed in range(processes):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            runs.append(pool.submit(measure, name, batch, path, rounds, layers, seed).result())
    made = []
    for pattern in PATTERNS:
        found = {
            layer: np.concatenate([np.asarray(run[pattern][layer]) for run in runs])
            for layer in runs[0][pattern]
        }
        pairs = np.concatenate(list(found.values()))
        first = np.concatenate([np.asarray(run[pattern][layer])[:1] for run in runs for layer in found])
        by_layer = {layer: float(np.median(each[:, 1] / each[:, 0])) for layer, each in found.items()}
        dearest = max(by_layer, key=by_layer.__getitem__)
        labels: dict[str, Label] = {
            "model": name,
            "batch": batch,
            "path": path,
            "pattern": pattern,
            "layers": len(found),
            "threads": torch.get_num_threads(),
            "processes": processes,
            "backend": kernels.backend(),
            "allocator": "glibc, memory kept",
            "without_ms": round(float(np.median(pairs[:, 0])), 3),
            "with_ms": round(float(np.median(pairs[:, 1])), 3),
            "layer_share": round(float(np.median(pairs[:, 2])), 4),
            "first": round(float(np.median(first[:, 1] / first[:, 0])), 4),
            "dearest_layer": dearest,
            "dearest": round(by_layer[dearest], 4),
        }
        ratio = pairs[:, 1] / pairs[:, 0]
        for metric, values in (
            ("fault_price", ratio),
            ("fault_price_beyond_layer", ratio - pairs[:, 2]),
        ):
            made.append(
                Record(
                    metric=metric,
                    value=float(np.median(values)),
                    unit="with/without a fault",
                    direction="lower",
                    n=len(values),
                    interval=bootstrap(values, seed=0),
                    timed=True,
                    seed=0,
                    labels=labels,
                )
            )
    return made


def _key(record: Record) -> tuple[Label, ...]:
    labels = ("model", "batch", "path", "pattern", "threads")
    return (record.metric, *(record.labels[name] for name in labels))


def main() -> None:
    """Measure, print a table, replace the records of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=PATHS)
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    os.environ.update(ALLOCATOR)  # read by a process when it starts
    table = Table(
        "model", "batch", "path", "pattern", "ratio", "95 %", "beyond layer", "first", "dearest layer"
    )
    for name in arguments.models:
        for batch in arguments.batches:
            for path in arguments.paths:
                made = records(name, batch, path, arguments.rounds, arguments.layers, arguments.processes)
                _records.replace(arguments.out, made, _key)
                for price, beyond in zip(made[::2], made[1::2], strict=True):
                    assert price.interval is not None
                    labels = price.labels
                    table.add_row(
                        name,
                        str(batch),
                        path,
                        str(labels["pattern"]),
                        f"{price.value:.3f}",
                        f"{price.interval.low:.3f}–{price.interval.high:.3f}",
                        f"{beyond.value:.3f}",
                        f"{labels['first']:.3f}",
                        f"{labels['dearest_layer']} {labels['dearest']:.2f}",
                    )
    Console().print(table)


if __name__ == "__main__":
    main()
