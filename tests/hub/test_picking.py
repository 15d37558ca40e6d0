"""Rules that pick one point of a front."""

from __future__ import annotations

import pytest

from holdfast.core.errors import UsageError
from holdfast.hub.picking import pick

GOALS = {"auc": "higher", "ms[batch=1,device=cpu]": "lower"}
MS = "ms[batch=1,device=cpu]"
POINTS = [
    {"auc": 0.95, MS: 9.0},
    {"auc": 0.94, MS: 3.0},
    {"auc": 0.80, MS: 1.0},
    {"auc": 0.99, MS: 0.1},  # not on the front that the test gives
    {"auc": 0.94, MS: 3.0},
]
FRONT = [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("rule", "picked"),
    [
        ("best:auc", 0),
        (f"best:{MS}", 2),
        (f"cheapest:{MS}", 2),
        ("knee", 1),
        (f"within:auc=0.01,cheapest:{MS}", 1),
        (f"within:auc=0.001, cheapest:{MS}", 0),
        (f"within:auc=50%,cheapest:{MS}", 2),
        (f"within:{MS}=2.5,within:auc=0.5,best:auc", 1),
    ],
)
def test_rules(rule, picked):
    assert pick(rule, POINTS, GOALS, FRONT) == picked


def test_the_knee_of_a_constant_objective_is_the_best_of_the_other():
    points = [{"a": 1.0, "b": 5.0}, {"a": 1.0, "b": 4.0}]
    assert pick("knee", points, {"a": "lower", "b": "lower"}, [0, 1]) == 1


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "auc",
        "best:",
        "best:loss",
        "within:auc=0.1",
        "within:auc=-1,knee",
        "within:x=1,knee",
        "knee,best:auc",
    ],
)
def test_bad_rules(rule):
    with pytest.raises(UsageError, match="--pick"):
        pick(rule, POINTS, GOALS, FRONT)


def test_an_empty_front():
    with pytest.raises(UsageError, match="at least one point"):
        pick("knee", POINTS, GOALS, [])
