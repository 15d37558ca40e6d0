"""Pareto fronts: the points that no other point beats in every objective."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record

Goal = Literal["higher", "lower"]
_SELECTOR = re.compile(r"(?P<metric>[^\[\]]+)(?:\[(?P<labels>[^\[\]]*)\])?")


class Front(NamedTuple):
    """Indices of the front, and of the points left out because an objective is missing; both ascending."""

    indices: list[int]
    excluded: list[int]


@dataclass
class Point:
    """Records that share the labels they were grouped by; ``values`` by metric selector, None if absent."""

    labels: dict[str, Label]
    values: dict[str, float | None] = field(default_factory=dict)


def pareto(points: Sequence[Mapping[str, float | None]], objectives: Mapping[str, Goal]) -> Front:
    """The non-dominated points under ``objectives``, each to be ``"higher"`` or ``"lower"``.

    A point dominates another if it is nowhere worse and somewhere better; equal points all stay. Points in
    which an objective is None, NaN or absent neither dominate nor appear; they are listed as excluded.
    Infinities compare as numbers. O(n log n) for two objectives. Raises UsageError without objectives or for
    an unknown direction.
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
    return Front([complete[i] for i in np.flatnonzero(non_dominated(costs))], excluded)


def non_dominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask (n,) of the rows of ``costs`` (n, objectives; lower is better, no NaN) that none dominates."""
    # Adding 0.0 turns -0.0 into 0.0, its equal.
    distinct, inverse = np.unique(costs + 0.0, axis=0, return_inverse=True)
    sweep = _sweep if costs.shape[1] == 2 else _cull
    mask: NDArray[np.bool_] = sweep(distinct)[inverse.reshape(-1)]
    return mask


def _sweep(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Two objectives, distinct rows in lexicographic order: each row must improve on the second's minimum."""
    second = costs[:, 1]
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], second]))[:-1]
    mask = second < best_before
    mask[:1] = True
    return mask


def _cull(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Any number of objectives, distinct rows in lexicographic order: a row only falls to an earlier one."""
    mask = np.zeros(len(costs), dtype=bool)
    candidates = np.arange(len(costs))
    while candidates.size:
        first, rest = candidates[0], candidates[1:]
        mask[first] = True
        candidates = rest[(costs[rest] < costs[first]).any(axis=1)]
    return mask


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
