"""Size, speed and memory of a packed ResNet-34 against the dense one: ``python -m benchmarks.sparse_speed``.

32×32×3, 10 classes, prune rate .99, random scores, statistics of CIFAR-10 batches. In order: bytes of the
file; the same answers as the unpacked model on test images (nothing is timed where they are not); paired
ratios of time, over the dense model by oneDNN's prepacked products (norms folded in, ReLUs and sums fused
into them, channels last) and over torch.compile with freezing; peak memory of fresh processes; additions a
second beside what the same loop reaches on data in the first- and second-level cache. Sections are chosen
with ``--only``; records of what was measured again are replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
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
from holdfast import data, kernels, models
from holdfast.core.result import Label, Record
from holdfast.core.stats import bootstrap
from holdfast.core.timing import time_pairs
from holdfast.kernels import native
from holdfast.programs.baselines import compiled, forward
from holdfast.subnet import Packed, load_packed
from holdfast.subnet.layers import prunable
from holdfast.subnet.rates import adaptive_counts
from holdfast.subnet.sparse import Compiled
from holdfast.subnet.sparse.build import Choice
from holdfast.subnet.sparse.graph import network
from holdfast.subnet.sparse.program import Program
from holdfast.subnet.subnetwork import Recipe, Subnetwork

RECORDS = Path(__file__).parent / "records" / "sparse_speed.jsonl"
SECTIONS = ("size", "answers", "time", "memory", "additions")
BASELINES = ("prepacked", "compiled")
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
SHAPE = (3, 32, 32)
PRUNE_RATE = 0.99
PART = 500
LOGITS, MARGIN = 1e-4, 2e-4
"""Largest difference of logits; margin between the top two below which another class may win."""


def packed(p: float, folder: Path, seed: int = 0) -> Path:
    """The packed network with ``p`` as a file in ``folder``, made if it is not there."""
    path = folder / f"resnet34-p{p:g}-{seed}.packed"
    if path.exists():
        return path
    torch.manual_seed(seed)
    config: Any = models.create(
        "resnet34", in_channels=3, classes=10, size=32, stem="cifar", norm="batch_no_affine", last_norm=True
    )
    sizes = [layer.weight.numel() for layer in prunable(config).values()]
    found = Subnetwork(config.config, Recipe(seed, adaptive_counts(sizes, PRUNE_RATE, p)))
    for module in found.model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.momentum = None  # the plain mean over the batches
    found.model.train()
    with torch.no_grad():
        for x, _ in data.open("cifar10", split="train", limit=512).batches(64):
            found.model(x)
    found.model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    found.pack().save(path)
    return path


def prepacked(model: nn.Module, images: int) -> Program:
    """``model`` with every layer by oneDNN's prepacked product."""
    net = network(model, SHAPE)
    dense = {layer.name: Choice("dense") for layer in net.layers.values()}
    return Program(net, images, native.load(), dense)


def images(folder: Path, count: int) -> Tensor:
    """The first ``count`` of 10,000 test images of CIFAR-10, kept in ``folder`` once decoded."""
    path = folder / "images.npy"
    if not path.exists():
        stream = data.open("cifar10", split="test")
        np.save(path, torch.cat([x for x, _ in stream.batches(500)]).numpy())
    return torch.from_numpy(np.load(path, mmap_mode="r")[:count].copy())


def compile_(network_: Packed, folder: Path) -> Compiled:
    """``network_`` compiled, with what was measured kept beside its file."""
    return network_.compile(threads=torch.get_num_threads(), plan=folder / f"plan-{network_.nbytes}.json")


# ---- answers -------------------------------------------------------------------------------------------


def answers(path: Path, count: int) -> dict[str, float]:
    """How the logits of the packed network differ from its module's on ``count`` images.

    Parts that are done are kept beside the file, so that a killed run goes on. Raises AssertionError.
    """
    network_, notes = load_packed(path), path.with_suffix(".answers.json")
    run, module = compile_(network_, path.parent), network_.to_module()
    done: dict[str, list[float]] = json.loads(notes.read_text()) if notes.exists() else {}
    for at in range(0, count, PART):
        if str(at) not in done:
            done[str(at)] = _compare(module, run, images(path.parent, min(at + PART, count))[at:])
            notes.write_text(json.dumps(done))
    parts = np.array([done[str(at)] for at in range(0, count, PART)])
    largest, n, near, apart = parts[:, 0].max(), *parts[:, 1:].sum(0)
    assert n == count, f"{notes}: of other images"
    assert apart == 0, f"{apart} of {count} images in another class"
    assert largest <= LOGITS, f"logits {largest:.2g} apart"
    return {"largest_difference": float(largest), "inside_margin": float(near), "n": count}


def _compare(module: nn.Module, run: Compiled, x: Tensor) -> list[float]:
    """Largest difference of logits; images, those inside the margin, those outside in another class."""
    with torch.inference_mode():
        wanted = torch.cat([module(some) for some in x.split(100)])
        found = run(x)
    top = wanted.topk(2).values
    close = top[:, 0] - top[:, 1] < MARGIN
    apart = (wanted.argmax(1) != found.argmax(1)) & ~close
    return [float((wanted - found).abs().max()), len(x), int(close.sum()), int(apart.sum())]


# ---- time ----------------------------------------------------------------------------------------------

Timed = tuple[list[float], float, float]
"""Paired ratios baseline / packed, medians of both in ms."""


def measure(path: Path, batch: int, baselines: tuple[str, ...], pairs: int) -> dict[str, Timed]:
    """The paired ratios over each of ``baselines``. Raises AssertionError where an answer differs."""
    torch.set_num_threads(1)
    network_ = load_packed(path)
    run, module, x = compile_(network_, path.parent), network_.to_module(), images(path.parent, batch)
    found = {}
    with torch.inference_mode():
        wanted = module(x)
        last = x.to(memory_format=torch.channels_last)
        for baseline in baselines:
            if baseline == "compiled":
                call = forward(compiled(module.to(memory_format=torch.channels_last), last), last)
            else:
                call = _call(prepacked(module, batch), last)
            for result in (call(), run(x)):
                assert float((result - wanted).abs().max()) <= LOGITS, "an answer differs"
            timing = time_pairs(call, _call(run, x), pairs, warmup=5)
            ratios = list(timing.a_ms / timing.b_ms)
            found[baseline] = ratios, float(np.median(timing.a_ms)), float(np.median(timing.b_ms))
    return found


def _call(model: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    return lambda: model(x)


def times(
    p: float, path: Path, batch: int, baselines: tuple[str, ...], pairs: int, processes: int
) -> list[Record]:
    """One record a baseline: ``pairs`` in all, over ``processes`` fresh processes."""
    runs = []
    for _ in range(processes):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            runs.append(pool.submit(measure, path, batch, baselines, -(-pairs // processes)).result())
    made = []
    for baseline in baselines:
        ratios = np.concatenate([run[baseline][0] for run in runs])
        labels: dict[str, Label] = {
            "p": p,
            "batch": batch,
            "baseline": baseline,
            "threads": 1,
            "processes": processes,
            "backend": kernels.backend(),
            "baseline_ms": round(float(np.median([run[baseline][1] for run in runs])), 3),
            "packed_ms": round(float(np.median([run[baseline][2] for run in runs])), 3),
        }
        made.append(
            Record(
                metric="speed",
                value=float(np.median(ratios)),
                unit="baseline/packed",
                direction="higher",
                n=len(ratios),
                interval=bootstrap(ratios, seed=0),
                timed=True,
                seed=0,
                labels=labels,
            )
        )
    return made


# ---- memory --------------------------------------------------------------------------------------------


def memory(path: Path, kind: str, batch: int) -> dict[str, int]:
    """Resident bytes of a fresh process that loads a model and runs it: before, at the peak, at the end."""
    code = f"from benchmarks import sparse_speed; sparse_speed.resident({str(path)!r}, {kind!r}, {batch})"
    environment = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return dict(zip(("before", "peak", "end"), map(int, shown.stdout.split()), strict=True))


def resident(path: str, kind: str, batch: int) -> None:
    """Print the three numbers of ``memory`` for this process (Linux).

    The peak is that of the address space: ru_maxrss begins with what the parent process had.
    """
    import psutil

    torch.set_num_threads(1)
    process, x = psutil.Process(), torch.rand(batch, *SHAPE)
    before = process.memory_info().rss
    with torch.inference_mode():
        run: Any
        if kind == "dense":
            model = models.load(path)
            run = prepacked(model, batch)
            del model
        else:
            run = compile_(load_packed(path), Path(path).parent)
        for _ in range(3):
            run(x)
    end = process.memory_info().rss
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    print(before, 1024 * int(status["VmHWM"].split()[0]), end)


# ---- additions -----------------------------------------------------------------------------------------


def additions(path: Path, batch: int) -> dict[str, float]:
    """Additions a second of the layers of a packed network, in all and by layer; one thread."""
    torch.set_num_threads(1)
    run, x = compile_(load_packed(path), path.parent), torch.rand(batch, *SHAPE)
    program, net = run.program(batch), run._network
    program(x)
    took = [program.time(x) for _ in range(15)]
    found, total, whole = {}, 0, 0.0
    chosen = {
        layer.layer: layer.method
        for plan in run.plans
        for layer in plan.layers
        if plan.key["images"] == batch
    }
    for layer in net.layers.values():
        if layer.weights is None or chosen[layer.name] == "dense":
            continue
        high, wide = layer.window.output(net.size(layer.source)[1:])
        adds = layer.weights.kept * high * wide * batch
        seconds = float(np.median([times[layer.name] for times in took]))
        found[layer.name], total, whole = adds / seconds, total + adds, whole + seconds
    return {"all layers": total / whole, **found}


def ceiling(size: int, repeats: int = 30) -> float:
    """Additions a second of the native loop on ``size`` bytes of aligned data, by its best tile."""
    torch.set_num_threads(1)
    core = native.load()
    assert core is not None
    channels, kept, best = 64, 2048, 0.0
    generator = torch.Generator().manual_seed(0)
    for tile in range(1, 9):
        floats = 16 * tile
        starts = torch.randint(0, size // 64 - tile, (channels * kept,), generator=generator)
        offsets = (16 * starts).to(torch.int32)
        start = torch.arange(2 * channels + 1, dtype=torch.int32) * (kept // 2)
        ones, zeros = torch.ones(channels), torch.zeros(channels)
        arena = torch.rand(size // 4 + channels * floats + 64)
        program = core.sparse_program()
        addresses = [tensor.data_ptr() for tensor in (start, offsets, ones, zeros)]
        first = (-arena.data_ptr() // 4) % 16
        program.sums(
            addresses, 0, [1, floats, 0, 0, 0, 0], channels, channels * kept,
            first, -1, first + size // 4, floats, tile, -np.inf, np.inf,
        )  # fmt: skip
        for _ in range(repeats):
            begin = perf_counter()
            core.sparse_run(program, arena.data_ptr(), [])
            best = max(best, channels * kept * floats / (perf_counter() - begin))
    return best


# ---- all -----------------------------------------------------------------------------------------------


def _record(
    metric: str, value: float, unit: str, direction: Any, n: int | None = None, **labels: Label
) -> Record:
    timed = unit in ("1/s", "B, resident")
    return Record(
        metric=metric, value=value, unit=unit, direction=direction, n=n, timed=timed, seed=0, labels=labels
    )


def _sizes(p: float, path: Path) -> list[Record]:
    network_ = load_packed(path)
    dense = sum(
        tensor.numel() * 4
        for tensor in network_.to_module().state_dict().values()
        if tensor.is_floating_point()
    )
    return [
        _record("bytes", path.stat().st_size, "B", "lower", p=p, form="packed", kept=network_.kept),
        _record("bytes", dense, "B", "lower", p=p, form="dense float32"),
    ]


def _answers(p: float, path: Path, count: int) -> list[Record]:
    found = answers(path, count)
    n = int(found.pop("n"))
    return [_record(f"answers_{name}", value, "", "none", n, p=p) for name, value in found.items()]


def _memories(p: float, path: Path, batch: int) -> list[Record]:
    dense = path.with_suffix(".safetensors")
    if not dense.exists():
        module: Any = load_packed(path).to_module()
        module.fc.bias = nn.Parameter(torch.zeros(10))  # which the architecture has
        models.save(module, dense)
    made = []
    compile_(load_packed(path), path.parent).program(batch)  # measured before, as for a user with a plan
    for kind, file in (("packed", path), ("dense", dense)):
        found = memory(file, kind, batch)
        for name in ("peak", "end"):
            value = found[name] - found["before"]
            made.append(_record(f"memory_{name}", value, "B, resident", "lower", p=p, batch=batch, form=kind))
    return made


def _additions(p: float, path: Path, batch: int) -> list[Record]:
    found = additions(path, batch)
    return [
        _record("additions", value, "1/s", "higher", p=p, batch=batch, where=where)
        for where, value in found.items()
    ]


def _ceilings() -> list[Record]:
    return [
        _record("additions", ceiling(size), "1/s", "higher", where=f"{size >> 10} KiB, ceiling")
        for size in (16 << 10, 1 << 20)
    ]


def _key(record: Record) -> tuple[Any, ...]:
    named = ("p", "batch", "baseline", "form", "where")
    return (record.metric, *(record.labels.get(name) for name in named))


def _keep(out: Path, made: list[Record], table: Table) -> None:
    _records.replace(out, made, _key)
    for record in made:
        labels = " ".join(f"{name}={value}" for name, value in record.labels.items())
        assert record.value is not None
        between = "" if record.interval is None else f"{record.interval.low:.2f}–{record.interval.high:.2f}"
        table.add_row(record.metric, f"{record.value:.6g}", record.unit, between, labels)


def main() -> None:
    """Measure, print a table, replace the records of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p", nargs="+", type=float, default=[0.1, 1.0])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--baselines", nargs="+", choices=BASELINES, default=BASELINES)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/sparse_speed"), help="for models and plans")
    parser.add_argument("--records", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    os.environ.update(ALLOCATOR)  # read by a process when it starts
    folder, table = arguments.folder.resolve(), Table("metric", "value", "unit", "95 % interval", "of")
    for p in arguments.p:
        path = packed(p, folder)
        if "size" in arguments.only:
            _keep(arguments.records, _sizes(p, path), table)
        if "answers" in arguments.only:
            _keep(arguments.records, _answers(p, path, arguments.images), table)
        for batch in arguments.batches:
            if "time" in arguments.only:
                made = times(p, path, batch, tuple(arguments.baselines), arguments.pairs, arguments.processes)
                _keep(arguments.records, made, table)
            if "memory" in arguments.only:
                _keep(arguments.records, _memories(p, path, batch), table)
            if "additions" in arguments.only:
                _keep(arguments.records, _additions(p, path, batch), table)
    if "additions" in arguments.only:
        _keep(arguments.records, _ceilings(), table)
    Console().print(table)


if __name__ == "__main__":
    main()
