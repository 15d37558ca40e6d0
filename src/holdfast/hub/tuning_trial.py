"""One trial of a search: a run, or several, of a workflow at one point, its objectives and its limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.core.errors import DataError, HoldfastError, UsageError
from holdfast.core.result import Record
from holdfast.core.stats import median_interval
from holdfast.hub.component import Component
from holdfast.hub.frontier import Ends, Goal, parse_selector, points_from_records
from holdfast.hub.points import REPETITION, Until, measure
from holdfast.hub.runner import OnEvent, run

_CONSTRAINT = re.compile(r"(?P<metric>.+?(\[[^\[\]]*\])?)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[^<>=\]]+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": le, ">=": ge, "<": lt, ">": gt}


@dataclass(frozen=True)
class Constraint:
    """``metric`` (a selector) must stand in ``sign`` (``<=``, ``>=``, ``<``, ``>``) to ``limit``."""

    metric: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """From ``size<=20000`` or ``latency[batch=1] < 3.5``. Raises UsageError."""
        match = _CONSTRAINT.fullmatch(text.strip())
        try:
            constraint = cls(match["metric"].strip(), match["sign"], float(match["limit"])) if match else None
        except ValueError:
            constraint = None
        if constraint is None:
            raise UsageError("--constraint", expected="METRIC<=NUMBER or METRIC>=NUMBER", got=repr(text))
        parse_selector(constraint.metric)
        return constraint

    def holds(self, value: float) -> bool:
        """Whether ``value`` satisfies it."""
        return _COMPARE[self.sign](value, self.limit)

    def excess(self, value: float) -> float:
        """How far ``value`` is beyond the limit: at most 0 where it holds, as Optuna's samplers want it."""
        distance = value - self.limit if "<" in self.sign else self.limit - value
        return max(distance, 1e-300) if not self.holds(value) else min(distance, 0.0)

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.limit:g}"


@dataclass(frozen=True)
class Trial:
    """One point of a search: its choices, the run it was, its objectives, or why it failed.

    ``intervals`` (low, high) are those of the objectives that have one, ``limited`` the values that the
    constraints are about, and ``violated`` those constraints that they break. ``rung`` is the value of the
    rungs' input that it came to; one that was ``discarded`` there has the objective it had then. Failed,
    violating and discarded trials are no points of the front.
    """

    number: int
    choices: dict[str, Any]
    values: dict[str, float | None]
    run: str | None = None
    error: str | None = None
    rung: int | None = None
    discarded: bool = False
    intervals: dict[str, Ends] = field(default_factory=dict)
    limited: dict[str, float | None] = field(default_factory=dict)
    violated: tuple[str, ...] = ()
    repetitions: int = 1

    @property
    def eligible(self) -> bool:
        """Whether it may be on the front."""
        return self.error is None and not self.violated and not self.discarded


@dataclass(frozen=True)
class Repeat:
    """How often a trial is run: ``times``, or on ``until`` its first objective is known well enough.

    Every repetition runs all steps anew. One alone may come from the cache.
    """

    times: int = 1
    until: Until | None = None


@dataclass(frozen=True)
class Task:
    """What all trials of a study have in common; it travels to the processes that run them."""

    component: Component
    inputs: Mapping[str, Any]
    objectives: Mapping[str, Goal]
    constraints: tuple[Constraint, ...] = ()
    repeat: Repeat = Repeat()
    project: Path | None = None


def run_trial(task: Task, number: int, picked: dict[str, Any], on_event: OnEvent | None = None) -> Trial:
    """Run the workflow at the point ``picked``; what fails is a failed trial, not an error.

    Every repetition gives one value of each metric. A trial's value is their median, its interval that of the
    median, widened to the record's own where it has one (that of a rate, of an AUC), since repeating a run
    on the same events says nothing about other events.
    """
    metrics = list(dict.fromkeys([*task.objectives, *(item.metric for item in task.constraints)]))
    seen: list[dict[str, float]] = []
    own: dict[str, Ends] = {}
    trial = Trial(number, picked, dict.fromkeys(task.objectives))

    def once() -> float:
        nonlocal trial
        found = run(
            task.component,
            {**task.inputs, **picked},
            force=task.repeat != Repeat() and bool(seen),
            on_event=on_event,
            project=task.project,
        )
        trial = replace(trial, run=found.id)
        values, intervals = _values(found.records, metrics)
        absent = [name for name in metrics if name not in values]
        if absent:
            trial = replace(trial, values={**trial.values, **_only(values, task.objectives)})
            raise DataError(f"no value for {', '.join(absent)}")
        own.update(intervals)
        seen.append(values)
        return values[metrics[0]]

    try:
        if task.repeat == Repeat():
            once()
        else:
            measure(once, warmup=0, repetitions=task.repeat.times, until=task.repeat.until)
    except HoldfastError as error:
        return replace(trial, error=str(error))
    return _judged(replace(trial, repetitions=len(seen)), task, seen, own)


def _judged(trial: Trial, task: Task, seen: list[dict[str, float]], own: dict[str, Ends]) -> Trial:
    medians = {name: float(np.median([values[name] for values in seen])) for name in seen[0]}
    intervals = dict(own)
    if len(seen) > 1:
        for name in seen[0]:
            found = median_interval(np.array([values[name] for values in seen]))
            low, high = own.get(name, (found.low, found.high))
            intervals[name] = (min(low, found.low), max(high, found.high))
    limited = {item.metric: medians[item.metric] for item in task.constraints}
    return replace(
        trial,
        values=_only(medians, task.objectives),
        intervals={name: ends for name, ends in intervals.items() if name in task.objectives},
        limited={**limited},
        violated=tuple(str(item) for item in task.constraints if not item.holds(medians[item.metric])),
    )


def _values(records: list[Record], metrics: list[str]) -> tuple[dict[str, float], dict[str, Ends]]:
    points = points_from_records(_without_repetitions(records), [], metrics)
    if not points:
        return {}, {}
    return {name: value for name, value in points[0].values.items() if value is not None}, points[0].intervals


def _without_repetitions(records: list[Record]) -> list[Record]:
    """Repetitions that have no record of them all become one: their median and its interval."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        rest = {name: value for name, value in record.labels.items() if name != REPETITION}
        groups.setdefault((record.metric, *sorted(rest.items())), []).append(record)
    merged = []
    for group in groups.values():
        whole = [record for record in group if REPETITION not in record.labels]
        values = np.array([record.value for record in group if record.value is not None])
        if not whole and len(values) == len(group):
            rest = {name: value for name, value in group[0].labels.items() if name != REPETITION}
            ends = median_interval(values) if len(values) > 1 else None
            found = {"value": float(np.median(values)), "interval": ends, "labels": rest}
            whole = [group[0].model_copy(update=found)]
        merged += whole or group
    return merged


def _only(values: Mapping[str, float], names: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: values.get(name) for name in names}
