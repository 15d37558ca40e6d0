"""Program ``robust-binary``: the tables of the paper on robust binary subnetworks, at a chosen scale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

from holdfast.core import environment
from holdfast.core.errors import HoldfastError
from holdfast.core.progress import progress
from holdfast.core.result import Interval, Record, write_records
from holdfast.programs.robust_binary_cells import PACKED, POWERS, RATES, SCALES, Cell, Scale, Training, cells
from holdfast.programs.robust_binary_derived import derived

Trained = dict[Training, list[Record]]


def run(
    out: Path,
    *,
    scale: str,
    tables: list[str],
    seeds: list[int] | None,
    prune_rates: list[float] | None,
    powers: list[float] | None,
    epochs: int | None,
    limit: int | None,
    test_limit: int | None,
    precision: str | None,
    workers: int | None,
) -> None:
    """Fill the cells of ``tables`` at ``scale``: ``out/records.jsonl``, which grows as cells end.

    Each training is a unit of its own, over ``workers`` processes of one thread (None: one a core, or where
    there is a GPU one that takes it; 1: this process). Finished ones are kept in ``out/cells``, begun ones go
    on from their checkpoint after a kill, and cells that agree share one. A cell is the mean over ``seeds``.
    What is None is the scale's own.
    """
    sizes: dict[str, Any] = {
        "epochs": epochs,
        "limit": limit,
        "test_limit": test_limit,
        "precision": precision,
    }
    grid: dict[str, Any] = {"seeds": seeds, "rates": prune_rates, "powers": powers}
    chosen = SCALES[scale]
    chosen = replace(
        chosen,
        training=replace(chosen.training, **{name: size for name, size in sizes.items() if size is not None}),
        fast_epochs=epochs if epochs is not None else chosen.fast_epochs,
        **{name: tuple(values) for name, values in grid.items() if values is not None},
    )
    with ExitStack() as stack:
        executor: Executor | None = None
        if (count := workers or _processes()) > 1:
            # Forked copies of a process that uses OpenMP threads may hang.
            executor = stack.enter_context(ProcessPoolExecutor(count, mp_context=get_context("spawn")))
        measure(out, chosen, tables, executor)


def measure(out: Path, scale: Scale, tables: Sequence[str], executor: Executor | None = None) -> list[Record]:
    """As ``run``, over any executor; returns the records. Raises UsageError for an unknown table."""
    (out / "networks").mkdir(parents=True, exist_ok=True)
    wanted = cells(scale, tables)
    trainings = list(dict.fromkeys(replace(cell.training, seed=s) for s in scale.seeds for cell in wanted))
    trained: Trained = {}
    with progress("robust-binary", len(trainings), "trainings") as advance:
        for training, found in _measured(trainings, out / "cells", executor):
            trained[training] = found
            write_records(out / "records.jsonl", _told(wanted, scale.seeds, trained))
            advance()
    records = [*_told(wanted, scale.seeds, trained), *_untrained(tables)]
    for cell in wanted:
        if cell.table == "masks":
            records += _drawn(replace(cell.training, seed=scale.seeds[0]), out)
    write_records(out / "records.jsonl", records)
    return records


def _processes() -> int:
    import torch

    return 1 if torch.cuda.is_available() else environment.cores()


def _measured(
    trainings: Iterable[Training], kept: Path, executor: Executor | None
) -> Iterator[tuple[Training, list[Record]]]:
    """Trainings and their records as they end: first those that were measured before."""
    from holdfast.programs import robust_binary_train as train

    missing = []
    for training in trainings:
        found = train.measured(training, kept / training.key)
        if found is None:
            missing.append(training)
        else:
            yield training, found
    if executor is None:
        for training in missing:
            yield training, _guarded(training, kept / training.key)
        return
    futures = {executor.submit(_guarded, training, kept / training.key): training for training in missing}
    for future in as_completed(futures):
        yield futures[future], future.result()


def _guarded(training: Training, folder: Path) -> list[Record]:
    """The records of a training; one that fails has a record without a value that says why."""
    from holdfast.programs import robust_binary_train as train

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return train.train_and_judge(training, folder)
    except HoldfastError as error:
        return [
            Record(
                metric=metric,
                value=None,
                unit="1",
                direction="higher",
                labels=train.described(training),
                seed=training.seed,
                status="failed",
                message=str(error),
            )
            for metric in ("clean_accuracy", "robust_accuracy")
        ]


def _told(wanted: Sequence[Cell], seeds: Sequence[int], trained: Trained) -> list[Record]:
    """Every training, every cell, and what follows from the cells."""
    means = list(_means(wanted, seeds, trained))
    return [*(record for found in trained.values() for record in found), *means, *derived(means)]


def _untrained(tables: Sequence[str]) -> list[Record]:
    from holdfast.programs.robust_binary_counts import cost, counts

    found = list(counts(RATES, POWERS)) if "counts" in tables else []
    return found + (list(cost()) if "cost" in tables else [])


def _drawn(training: Training, out: Path) -> list[Record]:
    """Keep the network whose masks are drawn in ``out/networks``, and say what is dead in it."""
    from holdfast.programs.robust_binary_counts import dead_channels
    from holdfast.programs.robust_binary_train import described
    from holdfast.subnet import load_packed

    file = out / "cells" / training.key / PACKED
    if not file.exists():
        return []
    packed = load_packed(file)
    packed.save(out / "networks" / PACKED)
    return list(dead_channels(packed, described(training), training.seed))


def _means(wanted: Sequence[Cell], seeds: Sequence[int], trained: Trained) -> Iterator[Record]:
    """What the tables say of each cell: ``clean_accuracy_mean`` and ``robust_accuracy_mean`` in per cent."""
    for cell in wanted:
        everything = [trained.get(replace(cell.training, seed=seed), []) for seed in seeds]
        for metric in ("clean_accuracy", "robust_accuracy"):
            found = [r for each in everything for r in each if r.metric == metric and r.value is not None]
            if found:
                yield _mean(cell, found)


def _mean(cell: Cell, found: Sequence[Record]) -> Record:
    """The mean over seeds; its interval is their range, or that of the images where there is one seed."""
    first = found[0]
    values = [100 * record.value for record in found if record.value is not None]
    span = Interval(low=min(values), high=max(values), method="lowest and highest of the seeds")
    if len(found) == 1 and first.interval is not None:
        own = first.interval
        span = Interval(low=100 * own.low, high=100 * own.high, level=own.level, method=own.method)
    return Record(
        metric=f"{first.metric}_mean",
        value=fmean(values),
        unit="%",
        direction="higher",
        n=first.n,
        interval=span,
        labels={**first.labels, **cell.where, "table": cell.table, "seeds": len(found)},
        simulated=first.simulated,
    )
