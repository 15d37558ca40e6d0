"""Picking one point of a front by a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import hypot, isfinite

from holdfast.core.errors import UsageError
from holdfast.hub.frontier import Goal

RULES = "best:METRIC, knee, or within:METRIC=AMOUNT,… before one of them"
_COMMAS = re.compile(r",(?![^\[]*\])")
Values = Mapping[str, float | None]


def pick(rule: str, points: Sequence[Values], objectives: Mapping[str, Goal], front: Sequence[int]) -> int:
    """Index of the point of ``front`` (indices of ``points``) that ``rule`` asks for.

    ``best:M`` (or ``cheapest:M``) is the best value of M; ``knee`` the least distance from the ideal point,
    each objective scaled to [0, 1] over the front; ``within:M=0.01`` before them, separated by a comma,
    leaves only points at most that far (or that share: ``within:M=2%``) from the best M of the front. Ties
    go to the objectives in their order, then to the first point. Raises UsageError for another rule, a metric
    that is no objective, or an empty front.
    """
    if not front:
        raise UsageError("--pick", expected="a front with at least one point", got="none")
    costs = {
        index: {
            name: (points[index][name] or 0.0) * (1 if goal == "lower" else -1)
            for name, goal in objectives.items()
        }
        for index in front
    }
    *filters, last = (part.strip() for part in _COMMAS.split(rule))
    for text in filters:
        costs = _within(text, rule, costs)
    kind, _, metric = last.partition(":")
    if last == "knee":
        distance = _distances(costs)
    elif kind in ("best", "cheapest"):
        distance = {index: cost[_known(metric, costs, rule)] for index, cost in costs.items()}
    else:
        raise UsageError("--pick", expected=RULES, got=repr(rule))
    return min(costs, key=lambda index: (distance[index], *costs[index].values(), index))


def _within(text: str, rule: str, costs: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
    kind, _, rest = text.partition(":")
    metric, _, amount = rest.rpartition("=")
    try:
        share = amount.endswith("%")
        room = float(amount.rstrip("%")) / (100 if share else 1)
        if kind != "within" or not room >= 0:
            raise ValueError
    except ValueError:
        raise UsageError("--pick", expected=RULES, got=repr(rule)) from None
    metric = _known(metric, costs, rule)
    best = min(cost[metric] for cost in costs.values())
    room *= abs(best) if share else 1.0
    return {index: cost for index, cost in costs.items() if cost[metric] <= best + room}


def _known(metric: str, costs: Mapping[int, Mapping[str, float]], rule: str) -> str:
    names = next(iter(costs.values()))
    if metric not in names:
        raise UsageError(f"--pick {rule}", expected=f"one of {', '.join(names)}", got=repr(metric))
    return metric


def _distances(costs: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    names = next(iter(costs.values()))
    ends = {
        name: (min(cost[name] for cost in costs.values()), max(cost[name] for cost in costs.values()))
        for name in names
    }

    def scaled(name: str, value: float) -> float:
        low, high = ends[name]
        share = (value - low) / (high - low) if high > low else 0.0
        return share if isfinite(share) else 1.0

    return {i: hypot(*(scaled(name, value) for name, value in cost.items())) for i, cost in costs.items()}
