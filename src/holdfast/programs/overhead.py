"""Program ``overhead``: what protection costs, error-free and with one error, against several baselines."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.core.canonical import content_hash
from holdfast.core.errors import HoldfastError
from holdfast.core.paths import write_text
from holdfast.core.progress import progress
from holdfast.core.result import Record, write_records
from holdfast.core.stats import bootstrap

if TYPE_CHECKING:
    from holdfast.programs.overhead_pairs import Job, Limits, Series

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
"""glibc keeps freed memory: page faults would swamp what is measured. The same for all calls of a cell."""


def run(
    out: Path,
    *,
    models: list[str],
    batches: list[int],
    baselines: list[str],
    errors: list[str],
    error_batches: list[int],
    compile_batches: list[int],
    scheme_batches: list[int],
    schemes_everywhere: list[str],
    plans_of: list[str],
    size: int | None,
    pairs: int,
    least: int,
    budget_s: float,
    limit_s: float,
    processes: int,
    seed: int,
) -> None:
    """Time the protected ``models`` (random weights) in turn with every baseline: ``out/records.jsonl``.

    A cell is one model at one batch size; all that is timed in it runs in turn, round after round. With an
    error (at ``error_batches``) a pass is compared with its own error-free one, and with the fastest eager
    layout. ``pairs`` rounds in all and ``least`` at least, spread over ``processes`` fresh processes, one
    after the other; between the two a cell stops after ``budget_s`` in each. A cell that needs more than
    ``limit_s`` is not run. What was not run, or has failed, has a record without a value that says why.
    At ``scheme_batches`` each scheme is timed by itself at one position, and for ``schemes_everywhere`` at
    all; for ``plans_of`` the plan is held against the slides' rule. ``size`` None: 224, and 416 for YOLOv2.

    Finished cells are kept in ``out/cells`` and not measured again after a kill.
    """
    from holdfast.programs.overhead_pairs import Job, Limits

    jobs = [
        Job(
            name,
            batch,
            size or (416 if name.startswith("yolo") else 224),
            tuple(baselines),
            tuple(errors) if batch in error_batches else (),
            compile=batch in compile_batches,
            schemes=("one", *["every"] * (name in schemes_everywhere)) if batch in scheme_batches else (),
            plan=name in plans_of and batch in error_batches,
        )
        for name in models
        for batch in sorted(batches)
    ]
    limits = Limits(-(-least // processes), -(-pairs // processes), budget_s, limit_s)
    cells = out / "cells"
    cells.mkdir(exist_ok=True)
    found: dict[Any, list[Series]] = {}
    os.environ.update(KEEP_MEMORY)  # read by a process when it starts
    with progress("overhead", processes * len(jobs), "cells") as advance:
        for repetition in range(processes):
            for job in jobs:
                for series in _cell(job, limits, seed + repetition, cells):
                    found.setdefault((series.metric, _key(series.labels)), []).append(series)
                advance()
    write_records(out / "records.jsonl", [_record(every, processes, seed) for every in found.values()])


def _cell(job: Job, limits: Limits, seed: int, kept: Path) -> list[Series]:
    """The series of ``job``, from ``kept`` where they were measured before, else from a fresh process."""
    from holdfast.programs.overhead_pairs import Series, measure

    name = content_hash({"job": asdict(job), "limits": asdict(limits), "seed": seed})[:16]
    file = kept / f"{job.model}-{job.batch}-{name}.json"
    if file.exists():
        told = json.loads(file.read_text())
        return [Series(**{**each, "ratios": np.array(each["ratios"], dtype=np.float64)}) for each in told]
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            series = pool.submit(measure, job, limits, seed).result()
    except HoldfastError as error:
        return job.absent(str(error), "failed")
    except BrokenProcessPool:
        return job.absent("the measuring process has died, for want of memory perhaps", "crashed")
    write_text(file, json.dumps([{**asdict(each), "ratios": each.ratios.tolist()} for each in series]))
    return series


def _key(labels: dict[str, Any]) -> Any:
    """What makes a series the same in every process; each process finds its own fastest layout."""
    names = ("model", "batch", "error", "baseline", "scheme", "positions", "of", "to")
    return tuple(labels.get(name) for name in names)


def _record(together: Sequence[Series], processes: int, seed: int) -> Record:
    """One record of the same series from all processes: the median, in per cent above the baseline."""
    first = next((each for each in together if each.ratios.size), together[0])
    timed = first.metric != "rule_kept"
    shares = 100 * (np.concatenate([each.ratios for each in together]) - first.offset)
    labels = {**first.labels, "pairs": len(shares), "processes": processes, "allocator": allocator()}
    if layouts := {str(each.labels["layout"]) for each in together if "layout" in each.labels}:
        labels["layout"] = ", ".join(sorted(layouts))
    for name in ("baseline_ms", "ms"):
        times = [value for each in together if (value := getattr(each, name)) is not None]
        if times:
            labels[name] = round(float(np.median(times)), 3)
    value = None
    if len(shares):
        value = float(np.median(shares) if timed else np.mean(shares))
    return Record(
        metric=first.metric,
        value=value,
        unit="%",
        direction="lower" if timed else "higher",
        n=len(shares),
        interval=bootstrap(shares, seed=seed) if timed and len(shares) > 1 else None,
        timed=timed,
        seed=seed,
        status=first.status,
        message=first.reason,
        labels=labels,
    )


def allocator() -> str:
    """The memory allocator of the measured processes, in words."""
    preloaded = os.environ.get("LD_PRELOAD")
    return Path(preloaded).name if preloaded else "glibc, memory kept"
