"""Pareto fronts against their definition."""

from __future__ import annotations

from math import inf, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.core.result import Record
from holdfast.hub import pareto, points_from_records

COORDINATE = st.one_of(st.none(), st.just(nan), st.sampled_from([-inf, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, inf]))


def definition(points, objectives):
    """The O(n²) definition: indices that no complete point dominates."""
    sign = {name: 1 if goal == "lower" else -1 for name, goal in objectives.items()}
    complete = [
        i for i, p in enumerate(points) if all(p[n] is not None and not isnan(p[n]) for n in objectives)
    ]

    def dominates(a, b):
        costs = [(sign[n] * points[a][n], sign[n] * points[b][n]) for n in objectives]
        return all(x <= y for x, y in costs) and any(x < y for x, y in costs)

    return [i for i in complete if not any(dominates(j, i) for j in complete)]


@given(st.data(), st.integers(1, 4), st.integers(0, 25))
def test_equals_the_definition(data, dimensions, n):
    objectives = {f"m{k}": data.draw(st.sampled_from(["higher", "lower"])) for k in range(dimensions)}
    points = [{name: data.draw(COORDINATE) for name in objectives} for _ in range(n)]
    front = pareto(points, objectives)
    assert front.indices == definition(points, objectives)
    missing = [i for i, p in enumerate(points) if any(v is None or isnan(v) for v in p.values())]
    assert front.excluded == missing


def test_negative_metrics_keep_the_best_point():
    # Ratios of metrics, as in Collective Knowledge's frontier, would delete -1 and keep -3.
    points = [{"score": -3.0}, {"score": -1.0}, {"score": -2.0}]
    assert pareto(points, {"score": "higher"}).indices == [1]


def test_points_tied_at_zero_are_dominated_by_the_other_objective():
    points = [{"loss": 0.0, "size": 5.0}, {"loss": 0.0, "size": 3.0}, {"loss": -1.0, "size": 9.0}]
    assert pareto(points, {"loss": "lower", "size": "lower"}).indices == [1, 2]


def test_ties_are_kept():
    points = [{"a": 1.0, "b": 2.0}] * 3 + [{"a": 1.0, "b": 3.0}]
    assert pareto(points, {"a": "lower", "b": "lower"}).indices == [0, 1, 2]


@pytest.mark.parametrize("objectives", [{}, {"a": "up"}], ids=["none", "unknown direction"])
def test_bad_objectives(objectives):
    with pytest.raises(UsageError):
        pareto([], objectives)


def record(metric, value, **labels):
    status = "ok" if value is not None else "failed"
    return Record(metric=metric, value=value, unit="1", direction="higher", labels=labels, status=status)


def test_records_become_points():
    records = [
        record("auc", 0.8, model="a"),
        record("ms", 3.0, model="a", batch=1),
        record("ms", 9.0, model="a", batch=64),
        record("auc", None, model="b"),
        record("events", 7.0),
    ]
    points = points_from_records(records, ["model"], ["auc", "ms[batch=64]"])
    assert [(p.labels, p.values) for p in points] == [
        ({"model": "a"}, {"auc": 0.8, "ms[batch=64]": 9.0}),
        ({"model": "b"}, {"auc": None, "ms[batch=64]": None}),
    ]
    with pytest.raises(UsageError, match=r"narrow the metric: ms\[batch=64\]"):
        points_from_records(records, ["model"])
    with pytest.raises(UsageError, match="metric selector"):
        points_from_records(records, ["model"], ["ms[batch"])


def test_a_total_is_taken_before_its_breakdowns():
    records = [
        Record(metric="sdc", value=value, unit="1", direction="lower", labels={"model": "a", **labels})
        for value, labels in ((0.9, {"layer": "conv1"}), (0.1, {}), (0.5, {"bit": 3}))
    ]
    (point,) = points_from_records(records, ["model"], ["sdc"])
    assert point.values == {"sdc": 0.1}
