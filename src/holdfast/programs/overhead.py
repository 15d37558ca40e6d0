"""Program ``overhead``: what protection costs, error-free and with one error, against several baselines."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.core.progress import progress
from holdfast.core.result import Record, write_records
from holdfast.core.stats import bootstrap

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
"""glibc keeps freed memory: page faults would swamp what is measured. The same for both sides of a pair."""


def run(
    out: Path,
    *,
    models: list[str],
    batches: list[int],
    baselines: list[str],
    errors: list[str],
    scheme_batches: list[int],
    size: int | None,
    pairs: int,
    processes: int,
    seed: int,
) -> None:
    """Time the protected ``models`` (random weights) in turn with every baseline: ``out/records.jsonl``.

    With an error they are timed in turn with their own error-free pass, and with the fastest eager layout.
    ``pairs`` in all, spread over ``processes`` fresh processes, one after the other. At ``scheme_batches``
    each scheme is timed by itself too. ``size`` None: 224, and 416 for YOLOv2. Raises DataError where a
    protected model answers differently or raises a false alarm.
    """
    from holdfast.programs.overhead_pairs import Job, measure

    jobs = [
        Job(name, batch, size or (416 if name.startswith("yolo") else 224), tuple(baselines), tuple(errors))
        for name in models
        for batch in batches
    ]
    each = -(-pairs // processes)
    found: dict[Any, list[Any]] = {}
    os.environ.update(KEEP_MEMORY)  # read by a process when it starts
    with progress("overhead", processes * len(jobs), "measurements") as advance:
        for repetition in range(processes):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                for job in jobs:
                    for series in pool.submit(
                        measure, job, each, job.batch in scheme_batches, seed + repetition
                    ).result():
                        found.setdefault((series.metric, _key(series.labels)), []).append(series)
                    advance()
    records = [_record(together, processes, seed) for together in found.values()]
    write_records(out / "records.jsonl", records)


def _key(labels: dict[str, Any]) -> Any:
    """What makes a series the same in every process; each process finds its own fastest layout."""
    return tuple(sorted((name, value) for name, value in labels.items() if name != "layout"))


def _record(together: list[Any], processes: int, seed: int) -> Record:
    """One record of the same series from all processes: the median, in per cent above the baseline."""
    timed = together[0].metric != "rule_kept"
    shares = 100 * (np.concatenate([series.ratios for series in together]) - together[0].offset)
    labels = {
        **together[0].labels,
        "layout": ", ".join(sorted({series.labels["layout"] for series in together})),
        "pairs": len(shares),
        "processes": processes,
        "allocator": allocator(),
    }
    for name in ("baseline_ms", "ms"):
        if getattr(together[0], name) is not None:
            labels[name] = round(float(np.median([getattr(series, name) for series in together])), 3)
    return Record(
        metric=together[0].metric,
        value=float(np.median(shares) if timed else np.mean(shares)),
        unit="%",
        direction="lower" if timed else "higher",
        n=len(shares),
        interval=bootstrap(shares, seed=seed) if timed and len(shares) > 1 else None,
        timed=timed,
        seed=seed,
        labels=labels,
    )


def allocator() -> str:
    """The memory allocator of the measured processes, in words."""
    preloaded = os.environ.get("LD_PRELOAD")
    return Path(preloaded).name if preloaded else "glibc, memory kept"
