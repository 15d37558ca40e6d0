"""ROC points: the whole curve in few points, of which the area is the AUC."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from holdfast.core.errors import UsageError
from holdfast.core.stats import roc_auc
from holdfast.training.curves import roc_points, write_table


def draw(n=5000, seed=0, digits=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, np.round(rng.normal(size=n) + labels, digits)


def area(points):
    x, y = (np.array([p[key] for p in points]) for key in ("false_positive_rate", "true_positive_rate"))
    return float(np.trapezoid(y, x))


@pytest.mark.parametrize("digits", [8, 1, 0], ids=["distinct", "ties", "many-ties"])
def test_the_area_is_the_auc(digits):
    labels, scores = draw(digits=digits)
    exact, few = roc_points(labels, scores, most=10**9), roc_points(labels, scores, most=200)
    auc, _ = roc_auc(labels, scores)
    assert area(exact) == pytest.approx(auc, abs=1e-12)
    assert len(few) <= 201
    assert area(few) == pytest.approx(auc, abs=1e-3)
    for points in (exact, few):
        ends = [(p["false_positive_rate"], p["true_positive_rate"]) for p in (points[0], points[-1])]
        assert ends == [(0, 0), (1, 1)]
        assert points[0]["threshold"] is None


def test_thresholds_are_those_of_the_rates():
    labels, scores = draw(200)
    for point in roc_points(labels, scores, most=20)[1:]:
        passed = scores >= point["threshold"]
        assert point["true_positive_rate"] == pytest.approx(passed[labels == 1].mean())
        assert point["false_positive_rate"] == pytest.approx(passed[labels == 0].mean())


def test_what_is_no_curve_is_refused():
    for labels, scores in (([1, 1], [0.1, 0.2]), ([0, 1], [0.1, np.nan])):
        with pytest.raises(UsageError, match="ROC curve"):
            roc_points(np.array(labels), np.array(scores))


def test_tables_have_a_column_a_key(tmp_path):
    write_table(tmp_path / "t.csv", [{"a": 1, "b": None}, {"a": 2, "c": "x,y"}])
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [["a", "b", "c"], ["1", "", ""], ["2", "", "x,y"]]
