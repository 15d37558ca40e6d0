"""A campaign: many trials of many stressors, through any executor, kept as they finish, told in records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from torch import nn

from holdfast.core.errors import UsageError
from holdfast.core.jsonl import Appender
from holdfast.core.progress import progress
from holdfast.core.protocols import Stressor
from holdfast.core.result import Label, Record
from holdfast.stress.pool import Scheduler
from holdfast.stress.store import Store, describe, fingerprint
from holdfast.stress.summary import records
from holdfast.stress.trial import ChoosesBatches, Line, judged_by, laboratory
from holdfast.stress.worker import Chunk, Setup

_FLUSH_S = 0.5


def run(
    model: nn.Module | Callable[[], nn.Module],
    stressors: Sequence[Stressor],
    data: Any,
    *,
    trials: int | Sequence[int],
    batch_size: int,
    seed: int,
    out: Path,
    executor: Executor | None = None,
    chunk: int = 32,
    in_flight: int | None = None,
    limit_s: float | None = None,
    labels: Mapping[str, Label] | None = None,
) -> list[Record]:
    """Run ``trials`` trials of each stressor (one number for all, or one each) against ``model``.

    Returns the records.

    ``model`` is a module (run in eval mode) or a picklable factory of one, which every worker calls once;
    ``data`` a stream with ``info`` (``classes``, ``simulated``, ``fingerprint``) and ``batches(batch_size,
    epoch=0, shuffle=False, skip=n)`` of (x, y), or a factory of one. Trial i draws from a generator seeded
    by (``seed``, stressor's name, i) and meets batch i modulo the number of batches; a stressor judged by
    quality stops after one pass over the data, since further ones add no samples.

    Without ``executor`` trials run here. With one (process pool, Dask's ``Client.get_executor()``) they go
    out in chunks of ``chunk``, at most ``in_flight`` (twice the cores) under way; a trial that kills its
    process counts as a crash and the campaign goes on. ``limit_s``: a trial that takes longer, in seconds,
    counts as a hang, and its process is killed; without ``executor`` the trials then run in a process of
    their own, and threads have no time limit. Every trial computes on one thread, so the records do not
    depend on the number of workers.

    Finished trials are kept in ``out/trials.jsonl``, settings in ``out/campaign.json``, and the faults that
    struck in ``out/faults.json`` for ``Replay``: calling again after a kill or Ctrl-C does the missing trials
    only, and the records equal those of an undisturbed run outside ``core.result.VOLATILE``. ``labels`` go
    into every record. Outcomes: ``stress.outcome``; metrics: ``stress.summary``.

    Raises UsageError for settings other than those kept in ``out`` (the difference is named), for no trials,
    and for stressors that do not fit model or data; StorageError if ``out`` cannot be written.
    """
    by_key = keyed(stressors)
    wanted = [trials] * len(by_key) if isinstance(trials, int) else list(trials)
    if len(wanted) != len(by_key):
        raise UsageError("campaign", expected=f"trials of {len(by_key)} stressors", got=len(wanted))
    if min(*wanted, batch_size, chunk) < 1:
        got = f"{trials}, {batch_size} and {chunk}"
        raise UsageError("campaign", expected="trials, batch_size and chunk of at least 1", got=got)
    with laboratory(model, data, batch_size=batch_size, seed=seed) as lab:
        stream = lab.data
        every = stream.batches(batch_size, epoch=0, shuffle=False, skip=0)
        own = [_own_batches(stressor, count) for stressor, count in zip(stressors, wanted, strict=True)]
        batches = sum(1 for _ in islice(every, max(*wanted, *(max(each, default=0) + 1 for each in own))))
        if not batches:
            raise UsageError("campaign data", expected="at least one batch", got="none")
        counts = {
            key: min(count, batches) if judged_by(stressor) == "quality" else count
            for (key, stressor), count in zip(by_key.items(), wanted, strict=True)
        }
        settings = {
            "seed": seed,
            "trials": wanted,
            "batch_size": batch_size,
            "batches": batches,
            "model": fingerprint(lab.model),
            "data": str(stream.info.fingerprint),
            "stressors": {key: describe(stressor) for key, stressor in by_key.items()},
            "labels": dict(labels or {}),
        }
        store = Store(out, settings)
        finished = store.finished()
        todo = {
            key: [(i, _batch(by_key[key], i, batches)) for i in range(count) if (key, i) not in finished]
            for key, count in counts.items()
        }
        missing = sum(map(len, todo.values()))
        if missing:
            chunks = _chunks(todo, chunk)
            if executor is None and limit_s is None:
                lines = _here(lab.run, by_key, chunks)
            else:
                setup = Setup.pack(model, data, by_key, batch_size=batch_size, seed=seed, limit_s=limit_s)
                lines = Scheduler(setup, executor, in_flight or 2 * (os.cpu_count() or 1)).run(chunks)
            _collect(lines, store, missing)
        store.write_faults(list(by_key))
    return records(
        store.lines(),
        by_key,
        seed=seed,
        simulated=bool(stream.info.simulated),
        classes=stream.info.classes,
        labels=dict(labels or {}),
    )


def _own_batches(stressor: Stressor, trials: int) -> list[int]:
    """The batches that a stressor asks for itself, as a replay does."""
    if not isinstance(stressor, ChoosesBatches):
        return []
    return [batch for i in range(trials) if (batch := stressor.batch_of(i)) is not None]


def _batch(stressor: Stressor, trial: int, batches: int) -> int:
    chosen = stressor.batch_of(trial) if isinstance(stressor, ChoosesBatches) else None
    if chosen is not None and chosen >= batches:
        remedy = "replay faults on the data, and with the batch size, that they struck"
        raise UsageError("campaign data", expected=f"{chosen + 1} batches", got=batches, remedy=remedy)
    return trial % batches if chosen is None else chosen


def keyed(stressors: Sequence[Stressor]) -> dict[str, Stressor]:
    """The stressors by name; those that share one are numbered in their order."""
    if not stressors:
        raise UsageError("campaign", expected="at least one stressor", got="none")
    by_key: dict[str, Stressor] = {}
    for stressor in stressors:
        number, key = 1, stressor.name
        while key in by_key:
            number += 1
            key = f"{stressor.name}-{number}"
        by_key[key] = stressor
    return by_key


def _chunks(todo: Mapping[str, list[tuple[int, int]]], size: int) -> Iterator[Chunk]:
    for key, trials in todo.items():
        # Neighbours share a batch, so that its clean output is computed once.
        ordered = sorted(trials, key=lambda pair: (pair[1], pair[0]))
        for start in range(0, len(ordered), size):
            yield Chunk(key, tuple(ordered[start : start + size]))


def _here(
    run_trial: Callable[[Stressor, int, int], Line], by_key: Mapping[str, Stressor], chunks: Iterator[Chunk]
) -> Iterator[list[Line]]:
    """Run chunks in this process; lines are handed over at least every half second or so."""
    pending: list[Line] = []
    since = monotonic()
    for chunk in chunks:
        for trial, batch in chunk.trials:
            pending.append({"stressor": chunk.key, **run_trial(by_key[chunk.key], trial, batch)})
            if monotonic() - since > _FLUSH_S:
                yield pending
                pending, since = [], monotonic()
    yield pending


def _collect(lines: Iterator[list[Line]], store: Store, missing: int) -> None:
    with Appender(store.trials) as appender, progress("campaign", missing, "trials") as advance:
        for finished in lines:
            if finished:
                appender.append(*finished)
            advance(len(finished))
