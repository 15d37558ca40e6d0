"""The noise-aware front against its definition, written out."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.result import Interval, Record
from holdfast.hub import pareto, points_from_records
from holdfast.hub.dominance import covered, dominated

GRID = st.sampled_from([-inf, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, inf])


def definition(costs, low, high):
    """a dominates b: nowhere above it, and somewhere beyond both intervals."""
    return [
        any((a <= b).all() and (h < w).any() for a, h in zip(costs, high, strict=True))
        for b, w in zip(costs, low, strict=True)
    ]


@given(st.data(), st.integers(1, 5), st.integers(0, 14))
@settings(max_examples=60)
def test_equals_the_definition(data, objectives, n):
    ends = st.tuples(GRID, GRID, GRID).map(sorted)
    cells = data.draw(
        st.lists(st.lists(ends, min_size=objectives, max_size=objectives), min_size=n, max_size=n)
    )
    cube = np.array(cells, dtype=float).reshape(n, objectives, 3)
    low, costs, high = (cube[:, :, k] for k in range(3))
    assert dominated(costs, low, high).tolist() == definition(costs, low, high)


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("values", [5, 10**6], ids=["many ties", "no ties"])
def test_division_equals_the_definition(objectives, values):
    rng = np.random.default_rng(objectives)
    costs = rng.integers(0, values, (300, objectives)).astype(float)
    costs[:150] -= costs[:150].mean(axis=1, keepdims=True)  # many that no other one dominates
    width = rng.integers(0, max(2, values // 40), costs.shape)
    expected = definition(costs, costs - width, costs + width)
    assert dominated(costs, costs - width, costs + width).tolist() == expected


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_covered(d):
    rng = np.random.default_rng(d)
    keys, queries = rng.integers(0, 30, (300, d)), rng.integers(-5, 25, (400, d))
    expected = (keys[:, None] <= queries[None]).all(axis=2).any(axis=0)
    assert expected.any()
    assert not expected.all()
    assert covered(keys, queries).tolist() == expected.tolist()
    assert not covered(keys[:0], queries).any()


@given(st.data(), st.integers(1, 3), st.integers(1, 10))
@settings(max_examples=40)
def test_intervals_only_ever_add_to_the_front(data, objectives, n):
    names = [f"m{k}" for k in range(objectives)]
    goals = {name: data.draw(st.sampled_from(["higher", "lower"])) for name in names}
    points = [{name: float(data.draw(st.integers(-3, 3))) for name in names} for _ in range(n)]
    width = st.integers(0, 2)
    narrow = [{name: (p[name] - (w := data.draw(width)), p[name] + w) for name in names} for p in points]
    wide = [{name: (low - 1, high + 1) for name, (low, high) in item.items()} for item in narrow]
    fronts = [set(pareto(points, goals, intervals).indices) for intervals in (None, narrow, wide)]
    assert fronts[0]
    assert fronts[0] <= fronts[1] <= fronts[2]


def test_cks_frontier_by_ratios_deletes_the_best_of_negative_metrics_and_this_one_does_not():
    points = [{"score": -3.0}, {"score": -1.0}, {"score": -2.0}]
    ends = [{"score": (value["score"] - 0.4, value["score"] + 0.4)} for value in points]
    assert pareto(points, {"score": "higher"}, ends).indices == [1]
    wide = [{"score": (value["score"] - 0.6, value["score"] + 0.6)} for value in points]
    assert pareto(points, {"score": "higher"}, wide).indices == [1, 2]


@pytest.mark.parametrize(
    ("b", "interval", "stays"),
    [
        pytest.param(1.05, (0.9, 1.2), True, id="within the noise"),
        pytest.param(1.05, (1.01, 1.2), False, id="beyond it"),
        pytest.param(1.05, (nan, nan), False, id="no interval: exact"),
        pytest.param(1.05, (1.2, 1.3), False, id="an interval beside its value is widened to it"),
        pytest.param(1.0, (0.5, 2.0), True, id="a tie"),
    ],
)
def test_one_objective(b, interval, stays):
    points = [{"ms": 1.0}, {"ms": b}]
    front = pareto(points, {"ms": "lower"}, [{"ms": (1.0, 1.0)}, {"ms": interval}])
    assert front.indices == ([0, 1] if stays else [0])


def test_a_tie_in_a_noisy_metric_does_not_save_a_point_that_is_surely_worse_in_another():
    # The same AUC within the same wide interval, three times the latency.
    points = [{"auc": 0.9, "ms": 1.0}, {"auc": 0.9, "ms": 3.0}]
    noisy = [{"auc": (0.88, 0.92), "ms": (p["ms"] - 0.1, p["ms"] + 0.1)} for p in points]
    assert pareto(points, {"auc": "higher", "ms": "lower"}, noisy).indices == [0]


def test_points_carry_the_intervals_of_their_records():
    interval = Interval(low=0.7, high=0.9, method="delong")
    records = [
        Record(metric="auc", value=0.8, unit="1", direction="higher", labels={"m": "a"}, interval=interval),
        Record(metric="ms", value=3.0, unit="ms", direction="lower", labels={"m": "a"}),
    ]
    (point,) = points_from_records(records, ["m"])
    assert point.intervals == {"auc": (0.7, 0.9)}
