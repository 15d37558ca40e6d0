"""Time of the fast path over three baselines: ``python -m benchmarks.fused_overhead``.

Error-free, whole models with random weights, inference mode. The baselines: the identical path with its
checks off (what protection really costs), the fastest eager layout (norms folded, ReLU in place), and
torch.compile with freezing. Both sides of a pair run in turn in one process with one allocator, which keeps
its memory (page faults would swamp the rest). Equal answers and no event come before any time. Records of the
same model, batch and baseline are replaced.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import _records
from holdfast import kernels, models, protect
from holdfast.abft.fused import Program
from holdfast.core.result import Label, Record
from holdfast.core.stats import bootstrap
from holdfast.core.timing import time_pairs
from holdfast.programs.baselines import LAYOUTS, compiled, fastest_eager, forward

RECORDS = Path(__file__).parent / "records" / "fused_overhead.jsonl"
MODELS = ("alexnet", "vgg19", "resnet18", "resnet50", "yolov2", "mobilenetv2")
BASELINES = ("checks off", "fastest eager", "compiled")
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
TOLERANCE = 1e-4
"""Largest difference of the outputs over the largest output: folded norms round differently."""

Timed = tuple[list[float], float, float, str]
"""The paired ratios, the medians of baseline and fast path in ms, the layout."""


def measure(name: str, batch: int, baselines: tuple[str, ...], pairs: int, seed: int) -> dict[str, Timed]:
    """The paired ratios over each of ``baselines``. Raises AssertionError where an answer differs."""
    torch.manual_seed(seed)
    size = 416 if name.startswith("yolo") else 224
    plain = models.create(name, in_channels=3, classes=20 if size == 416 else 1000, size=size).eval()
    plain = plain.to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, size, size)
    last = x.to(memory_format=torch.channels_last)
    protected = protect(plain, plan=None)
    found = {}
    with torch.inference_mode():
        expected = plain(last)
        for _ in range(2):  # the first call looks for functional products and is not fast
            _same(protected(last), expected)
    assert protected.fast is not None
    assert protected.fast.program is not None, protected.fast.reason
    program, fast = protected.fast.program, forward(protected, last)
    for baseline in baselines:
        layout = "channels_last"
        if baseline == "fastest eager":
            lean, layout = fastest_eager(plain, x)
            call = forward(lean, x.to(memory_format=LAYOUTS[layout]))
        elif baseline == "compiled":
            call = forward(compiled(plain, last), last)
        else:
            call = _unchecked(fast, program)
        _same(call(), expected)
        timing = time_pairs(call, fast, pairs, warmup=3)
        medians = float(np.median(timing.a_ms)), float(np.median(timing.b_ms))
        found[baseline] = (list(timing.b_ms / timing.a_ms), *medians, layout)
    assert not protected.events, f"{name}: a false alarm"
    return found


def _unchecked(call: Callable[[], Tensor], program: Program) -> Callable[[], Tensor]:
    def unchecked() -> Tensor:
        program.checks = False
        try:
            return call()
        finally:
            program.checks = True

    return unchecked


def _same(found: Tensor, expected: Tensor) -> None:
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert difference <= TOLERANCE, f"outputs {difference:.2g} apart"


def records(name: str, batch: int, baselines: tuple[str, ...], pairs: int, processes: int) -> list[Record]:
    """One record for each of ``baselines``: ``pairs`` in all, over ``processes`` fresh processes."""
    runs = []
    for seed in range(processes):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            each = -(-pairs // processes)
            runs.append(pool.submit(measure, name, batch, baselines, each, seed).result())
    made = []
    for baseline in baselines:
        ratios = np.concatenate([run[baseline][0] for run in runs])
        labels: dict[str, Label] = {
            "model": name,
            "batch": batch,
            "baseline": baseline,
            "layout": runs[0][baseline][3],
            "threads": torch.get_num_threads(),
            "processes": processes,
            "backend": kernels.backend(),
            "allocator": "glibc, memory kept",
            "baseline_ms": round(float(np.median([run[baseline][1] for run in runs])), 3),
            "protected_ms": round(float(np.median([run[baseline][2] for run in runs])), 3),
        }
        made.append(
            Record(
                metric="time_ratio",
                value=float(np.median(ratios)),
                unit="protected/baseline",
                direction="lower",
                n=len(ratios),
                interval=bootstrap(ratios, seed=0),
                timed=True,
                seed=0,
                labels=labels,
            )
        )
    return made


def _key(record: Record) -> tuple[Label, ...]:
    return tuple(record.labels[name] for name in ("model", "batch", "baseline", "threads"))


def main() -> None:
    """Measure, print a table, replace the records of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 32])
    parser.add_argument("--baselines", nargs="+", choices=BASELINES, default=BASELINES)
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    os.environ.update(ALLOCATOR)  # read by a process when it starts
    table = Table("model", "batch", "baseline", "baseline ms", "protected ms", "ratio", "95 % interval")
    for name in arguments.models:
        for batch in arguments.batches:
            made = records(name, batch, tuple(arguments.baselines), arguments.pairs, arguments.processes)
            _records.replace(arguments.out, made, _key)
            for record in made:
                assert record.interval is not None
                table.add_row(
                    name,
                    str(batch),
                    str(record.labels["baseline"]),
                    f"{record.labels['baseline_ms']:.2f}",
                    f"{record.labels['protected_ms']:.2f}",
                    f"{record.value:.3f}",
                    f"{record.interval.low:.3f}–{record.interval.high:.3f}",
                )
    Console().print(table)


if __name__ == "__main__":
    main()
