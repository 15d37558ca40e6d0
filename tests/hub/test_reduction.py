"""Reduction of points whose answer is known."""

from __future__ import annotations

import random

import pytest

from holdfast.core.errors import HoldfastError, UsageError
from holdfast.hub.reduction import not_worse, reduce, still_fails

PLAIN = {f"c{i}": 0 for i in range(12)}
POINT = dict.fromkeys(PLAIN, 1) | {"c11": 0}


def test_only_what_matters_is_kept():
    asked = []

    def judge(candidate):
        asked.append(candidate)
        # c2 and c7 matter, and c3 or c4 must stay.
        fine = candidate["c2"] and candidate["c7"] and (candidate["c3"] or candidate["c4"])
        return "keeps" if fine else "loses"

    found = reduce(POINT, PLAIN, judge)
    assert {"c2", "c7"} < set(found.kept)
    assert len(found.kept) == 3
    assert len({"c3", "c4"} & set(found.kept)) == 1
    assert set(found.kept) | set(found.dropped) == set(POINT) - {"c11"}
    assert found.judged == len(asked) == len({str(item) for item in asked})


def test_nothing_matters_everything_matters():
    assert reduce(POINT, PLAIN, lambda _: "keeps").kept == {}
    assert reduce(POINT, PLAIN, lambda _: "loses").dropped == {}
    with pytest.raises(UsageError, match="a plain value"):
        reduce({"x": 1}, {}, lambda _: "keeps")


def test_noise_neither_keeps_nor_drops_by_chance():
    rng = random.Random(0)

    def time(candidate):
        slow = 10 * (1 - 0.5 * candidate["c2"]) * (1 - 0.2 * candidate["c7"])
        return slow * rng.gauss(1, 0.01)

    found = reduce(POINT, PLAIN, not_worse(time, POINT, margin=0.05))
    assert set(found.kept) == {"c2", "c7"}
    assert found.undecided == ()


def test_what_repetition_cannot_tell_is_kept_and_said():
    rng = random.Random(1)
    found = reduce({"a": 1}, {"a": 0}, not_worse(lambda _: rng.uniform(0.9, 1.1), {"a": 1}, margin=0.001))
    assert found.kept == {"a": 1}
    assert found.undecided == ("a",)


def test_a_failing_point_is_reduced_to_what_makes_it_fail():
    def run_once(candidate):
        if candidate["c1"] and candidate["c9"]:
            raise HoldfastError("crash")

    assert set(reduce(POINT, PLAIN, still_fails(run_once)).kept) == {"c1", "c9"}


def test_a_candidate_that_fails_loses():
    def measure(candidate):
        if not candidate["c0"]:
            raise HoldfastError("wrong result")
        return 1.0

    assert set(reduce(POINT, PLAIN, not_worse(measure, POINT)).kept) == {"c0"}
