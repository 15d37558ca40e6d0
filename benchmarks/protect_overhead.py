"""Time of a model protected module by module: ``python -m benchmarks.protect_overhead``.

Over that of the plain model, with the native core and without it (``fuse=False``, no plan). Fault-free,
eager, inference mode, both sides in one process with one allocator and in one layout, A B A B. Equal outputs
and no event come before any time. Random weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from holdfast import kernels, models, protect
from holdfast.core.result import Record, write_records
from holdfast.core.timing import time_pairs
from holdfast.kernels import native

RECORDS = Path(__file__).parent / "records" / "protect_overhead.jsonl"
SIZE, CLASSES = 224, 1000
BARRED = ("alexnet", "vgg19", "resnet18", "resnet50")
"""The models that have to stay below the bars; the others are reported."""
MODELS = (*BARRED, "mobilenetv2", "yolov2")
BARS = {"native": 1.12, "fallback": 1.20}
LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


def measure(name: str, batch: int, layout: str, backend: str, pairs: int) -> Record:
    """The paired ratio protected / plain. Raises AssertionError where the outputs differ."""
    torch.manual_seed(0)
    form = LAYOUTS[layout]
    plain = models.create(name, in_channels=3, classes=CLASSES, size=SIZE).eval().to(memory_format=form)
    x = torch.rand(batch, 3, SIZE, SIZE).to(memory_format=form)
    without: AbstractContextManager[object] = nullcontext()
    if backend == "fallback":
        without = patch.object(native, "load", return_value=None)
    with without, torch.inference_mode():
        protected = protect(plain, plan=None, fuse=False)
        assert torch.equal(protected(x), plain(x)), f"{name}: the protected model answers differently"
        assert not protected.events, f"{name}: a false alarm"
        timing = time_pairs(lambda: plain(x), lambda: protected(x), pairs, warmup=3)
        assert not protected.events, f"{name}: a false alarm"
        computes = kernels.backend()
    return Record(
        metric="time_ratio",
        value=timing.ratio,
        unit="protected/plain",
        direction="lower",
        n=pairs,
        interval=timing.interval(),
        timed=True,
        seed=0,
        labels={
            "model": name,
            "batch": batch,
            "layout": layout,
            "threads": torch.get_num_threads(),
            "without_core": backend == "fallback",
            "backend": computes,
            "plain_ms": float(np.median(timing.a_ms)),
            "protected_ms": float(np.median(timing.b_ms)),
        },
    )


def main() -> None:
    """Measure every model, batch, layout and backend, print a table, replace the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--backends", nargs="+", choices=BARS, default=list(BARS))
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    table = Table("model", "batch", "layout", "checks", "plain ms", "protected ms", "ratio", "95 %", "bar")
    records = []
    for name in arguments.models:
        for batch in arguments.batches:
            for layout in LAYOUTS:
                for backend in arguments.backends:
                    record = measure(name, batch, layout, backend, arguments.pairs)
                    records.append(record)
                    assert record.interval is not None
                    table.add_row(
                        name,
                        str(batch),
                        layout,
                        backend,
                        f"{record.labels['plain_ms']:.2f}",
                        f"{record.labels['protected_ms']:.2f}",
                        f"{record.value:.3f}",
                        f"{record.interval.low:.3f}–{record.interval.high:.3f}",
                        f"{BARS[backend]:.2f}" if name in BARRED else "",
                    )
    write_records(arguments.out, records)
    Console().print(table)


if __name__ == "__main__":
    main()
