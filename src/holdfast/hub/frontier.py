"""Pareto fronts: the points that no other point beats beyond what measurement can tell apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Literal, NamedTuple

import numpy as np

from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record
from holdfast.hub.dominance import dominated

Goal = Literal["higher", "lower"]
Ends = tuple[float, float]
_SELECTOR = re.compile(r"(?P<metric>[^\[\]]+)(?:\[(?P<labels>[^\[\]]*)\])?")


class Front(NamedTuple):
    """Indices of the front, and of the points left out because an objective is missing; both ascending."""

    indices: list[int]
    excluded: list[int]


@dataclass
class Point:
    """Records that share the labels they were grouped by; ``values`` by metric selector, None if absent.

    ``intervals`` are those of the records that have one.
    """

    labels: dict[str, Label]
    values: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, Ends] = field(default_factory=dict)


def pareto(
    points: Sequence[Mapping[str, float | None]],
    objectives: Mapping[str, Goal],
    intervals: Sequence[Mapping[str, Ends]] | None = None,
) -> Front:
    """The non-dominated points under ``objectives``, each to be ``"higher"`` or ``"lower"``.

    A point dominates another if it is nowhere worse and somewhere better beyond both ``intervals`` (low and
    high by objective; none, or NaN: the value is exact; one that leaves out its value is widened to it).
    Without intervals that is Pareto's dominance, and with them no point of that front is ever lost. Equal
    points all stay. Values are compared, never divided, so signs and zeros mean nothing special; infinities
    compare as numbers. Points in which an objective is None, NaN or absent neither dominate nor appear; they
    are listed as excluded. Raises UsageError without objectives or for an unknown direction.
    """
    for name, goal in objectives.items():
        if goal not in ("higher", "lower"):
            raise UsageError(f"objective {name!r}", expected="higher or lower", got=repr(goal))
    if not objectives:
        raise UsageError("frontier", expected="at least one objective", got="none")
    rows = [[point.get(name) for name in objectives] for point in points]
    complete = [
        i for i, row in enumerate(rows) if all(value is not None and not isnan(value) for value in row)
    ]
    present = set(complete)
    excluded = [i for i in range(len(rows)) if i not in present]
    signs = np.array([1.0 if goal == "lower" else -1.0 for goal in objectives.values()])
    costs = np.array([rows[i] for i in complete], dtype=np.float64).reshape(-1, len(signs)) * signs
    low = high = costs
    if intervals is not None:
        none = (nan, nan)
        ends = [[intervals[i].get(name, none) for name in objectives] for i in complete]
        both = np.array(ends, dtype=np.float64).reshape(-1, len(signs), 2) * signs[:, None]
        low, high = np.fmin(both.min(axis=2), costs), np.fmax(both.max(axis=2), costs)
    return Front([complete[i] for i in np.flatnonzero(~dominated(costs, low, high))], excluded)


def points_from_records(
    records: Iterable[Record], by: Sequence[str], metrics: Sequence[str] | None = None
) -> list[Point]:
    """Group records into points by the values of the labels ``by``; records without all of them are left out.

    ``metrics`` are selectors ``metric`` or ``metric[label=value,…]``; by default every metric that occurs. Of
    a total and its breakdowns (records with the total's labels and more) the total is taken. Raises
    UsageError where several other records fit one selector in one point: which is meant is not guessed.
    """
    records = [record for record in records if all(name in record.labels for name in by)]
    if metrics is None:
        metrics = list(dict.fromkeys(record.metric for record in records))
    selectors = {text: parse_selector(text) for text in metrics}
    points: dict[tuple[Label, ...], Point] = {}
    fitting: dict[tuple[Label, ...], dict[str, list[Record]]] = {}
    for record in records:
        labels = {name: record.labels[name] for name in by}
        key = tuple(labels.values())
        points.setdefault(key, Point(labels, dict.fromkeys(metrics)))
        found = fitting.setdefault(key, {text: [] for text in metrics})
        for text, (metric, wanted) in selectors.items():
            if record.metric == metric and all(str(record.labels.get(k)) == v for k, v in wanted.items()):
                found[text].append(record)
    for key, point in points.items():
        for text, candidates in fitting[key].items():
            if candidates:
                record = _total(text, point, candidates)
                point.values[text] = record.value if record.status == "ok" else None
                if record.interval is not None and record.status == "ok":
                    point.intervals[text] = (record.interval.low, record.interval.high)
    return list(points.values())


def _total(text: str, point: Point, candidates: list[Record]) -> Record:
    """The one candidate whose labels all others share and add to. Raises UsageError if there is none."""
    least = min(candidates, key=lambda record: len(record.labels))
    for other in candidates:
        if other is not least and not least.labels.items() < other.labels.items():
            raise _several(text, point, other)
    return least


def parse_selector(text: str) -> tuple[str, dict[str, str]]:
    """``"latency[batch=1]"`` as ``("latency", {"batch": "1"})``. Raises UsageError."""
    match = _SELECTOR.fullmatch(text.strip())
    pairs = [part.split("=", 1) for part in (match["labels"] or "").split(",") if part] if match else []
    if match is None or any(len(pair) != 2 for pair in pairs):
        raise UsageError("metric selector", expected="metric or metric[label=value,…]", got=repr(text))
    return match["metric"].strip(), {name.strip(): value.strip() for name, value in pairs}


def in_words(selector: str) -> str:
    """A metric selector for readers: ``latency[batch=1]`` as "latency (batch 1)"."""
    metric, labels = parse_selector(selector)
    words = ", ".join(f"{name} {value}".replace("_", " ") for name, value in labels.items())
    return metric.replace("_", " ") + (f" ({words})" if words else "")


def _several(text: str, point: Point, record: Record) -> UsageError:
    place = ", ".join(f"{name}={value}" for name, value in point.labels.items())
    more = ", ".join(f"{name}={value}" for name, value in record.labels.items() if name not in point.labels)
    return UsageError(
        f"point {place or '(all)'}",
        expected=f"one record for {text}",
        got="several",
        remedy=f"group by another label, or narrow the metric: {text}[{more}]",
    )
