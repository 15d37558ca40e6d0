from __future__ import annotations

from collections import Counter
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.core.stats import wilson
from holdfast.stress import plan_trials, trials_to_exclude
from holdfast.stress.strata import Stratum, exact_upper, pooled, trials_for_width


def stratum(exposure: int, sdc: int, masked: int) -> Stratum:
    return Stratum(exposure, Counter(sdc=sdc, masked=masked))


def test_strata_weigh_as_much_as_they_expose() -> None:
    rate, interval = pooled([stratum(900, 1, 9), stratum(100, 10, 0)], ("sdc",))
    assert rate == pytest.approx(0.9 * 0.1 + 0.1)
    # Kish: (0.81 + 0.01) / 10 → 12.2 trials
    expected = wilson(rate * 10 / 0.82, 10 / 0.82)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_equal_strata_are_one() -> None:
    rate, interval = pooled([stratum(7, 2, 8), stratum(7, 1, 9)], ("sdc",))
    assert rate == pytest.approx(0.15)
    assert interval.low == pytest.approx(wilson(3, 20).low)
    assert interval.high == pytest.approx(wilson(3, 20).high)


def test_no_hit_in_any_stratum() -> None:
    rate, interval = pooled([stratum(5, 0, 10), stratum(50, 0, 10)], ("sdc",))
    assert rate == interval.low == 0
    assert interval.high > wilson(0, 20).high


def test_strata_without_trials_say_nothing() -> None:
    assert pooled([stratum(5, 1, 1), Stratum(10**9)], ("sdc",))[0] == 0.5
    with pytest.raises(UsageError):
        pooled([Stratum(3)], ("sdc",))


def binomial(hits: int, n: int, rate: float) -> float:
    return sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(hits + 1))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 0.6), st.integers(0, 3), st.sampled_from([0.9, 0.95, 0.99]))
def test_trials_to_exclude_are_the_fewest(rate: float, hits: int, confidence: float) -> None:
    n = trials_to_exclude(rate, hits=hits, confidence=confidence)
    assert binomial(hits, n, rate) <= 1 - confidence
    assert binomial(hits, n - 1, rate) > 1 - confidence


def test_the_rule_of_three() -> None:
    assert trials_to_exclude(1e-4) == 29956
    assert trials_to_exclude(0.05) == 59
    assert exact_upper(0, 20_000) == pytest.approx(1.498e-4, rel=1e-3)
    assert exact_upper(0, 59) < 0.05 < exact_upper(0, 58)
    assert exact_upper(4, 4) == 1


@settings(max_examples=40, deadline=None)
@given(st.floats(0.005, 0.4), st.floats(0, 1))
def test_trials_for_a_width_are_the_fewest(half_width: float, p_max: float) -> None:
    n = trials_for_width(half_width, p_max=p_max)
    worst = min(p_max, 0.5)

    def half(count: int) -> float:
        interval = wilson(worst * count, count)
        return (interval.high - interval.low) / 2

    assert half(n) <= half_width
    assert n == 1 or half(n - 1) > half_width


def test_plans() -> None:
    # The textbook's 1068 for ±3 % at p = ½; Wilson's interval is a little narrower.
    assert 1060 <= plan_trials(half_width=0.03).total <= 1068
    plan = plan_trials(half_width=0.03, strata=100)
    assert (plan.per_stratum, plan.total) == (11, 1100)
    each = plan_trials(half_width=0.03, strata=100, each=True)
    assert each.total == 100 * plan_trials(half_width=0.03).total
    assert plan_trials(p_max=1e-3).total == 2995
    assert plan_trials(half_width=0.01, p_max=0.01).total < plan_trials(half_width=0.01).total


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"half_width": 0.0},
        {"p_max": 0.0},
        {"half_width": 0.1, "p_max": 2.0},
        {"half_width": 0.1, "confidence": 1.0},
        {"half_width": 0.1, "strata": 0},
    ],
    ids=str,
)
def test_wrong_plans(options: dict) -> None:
    with pytest.raises(UsageError):
        plan_trials(**options)
