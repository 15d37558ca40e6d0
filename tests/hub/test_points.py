"""Repetitions: all are kept, the interval covers, and what stops them is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError, UsageError
from holdfast.core.stats import median_interval
from holdfast.hub.frontier import points_from_records
from holdfast.hub.points import Until, measure, outliers


def feed(*values):
    remaining = iter(values)
    return lambda: next(remaining)


def test_warm_up_is_kept_but_not_counted():
    point = measure(feed(90.0, 80.0, 1.0, 2.0, 4.0), warmup=2, repetitions=3)
    assert (point.warmup, point.values) == ((90.0, 80.0), (1.0, 2.0, 4.0))
    assert (point.median, point.mean, point.stopped) == (2.0, pytest.approx(7 / 3), "repetitions")


def test_one_repetition_has_no_interval():
    point = measure(feed(3.0), warmup=0, repetitions=1)
    assert (point.median, point.interval, point.outliers) == (3.0, None, None)


def test_it_goes_on_until_the_interval_is_tight():
    noisy = [10.0, 20.0, 1.0, 30.0, 5.0, 10.0]
    point = measure(feed(*noisy, *[10.0] * 100), warmup=0, repetitions=6, until=Until(0.01))
    assert point.stopped == "tight"
    assert 6 < len(point.values) < 30
    assert point.interval.high - point.interval.low <= 2 * 0.01 * point.median


def test_a_tight_interval_needs_its_level():
    point = measure(feed(*[1.0, 1.0001] * 3), warmup=0, repetitions=2, until=Until(0.1))
    assert len(point.values) == 6


@pytest.mark.parametrize(
    ("until", "stopped"),
    [(Until(1e-9, repetitions=7), "budget: repetitions"), (Until(1e-9, seconds=1e-9), "budget: seconds")],
)
def test_a_budget_ends_it(until, stopped):
    numbers = iter(range(1, 1000))
    point = measure(lambda: next(numbers), warmup=0, repetitions=2, until=until)
    assert point.stopped == stopped
    assert len(point.values) == (7 if stopped.endswith("repetitions") else 1)


def test_outliers_are_told_and_counted():
    values = [10.0, 10.1, 9.9, 10.0, 10.05, 99.0]
    found = measure(feed(*values), warmup=0, repetitions=6)
    assert (found.outliers.count, found.outliers.furthest) == (1, 99.0)
    assert str(found.outliers).startswith("1 outlier, the furthest 99 at ")
    assert found.values == tuple(values)
    assert found.mean == pytest.approx(np.mean(values))


def test_what_differs_from_mostly_equal_values_is_far():
    assert (outliers([1.0] * 9 + [1.5]).count, outliers([1.0] * 9 + [1.5]).z) == (1, None)
    assert outliers([1.0, 1.0, 1.0]) is None
    assert outliers([1.0, 9.0]) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_an_error(value):
    with pytest.raises(DataError, match="finite"):
        measure(lambda: value)


@pytest.mark.parametrize("numbers", [{"warmup": -1}, {"repetitions": 0}])
def test_numbers_that_make_no_sense(numbers):
    with pytest.raises(UsageError, match="warm-up and repetitions"):
        measure(lambda: 1.0, **numbers)
    with pytest.raises(UsageError, match="until"):
        Until(relative=0.0)


def test_records_make_one_point_with_its_repetitions_beside_it():
    point = measure(feed(1.0, 2.0, 4.0), warmup=0, repetitions=3)
    records = point.records("latency", "ms", "lower", timed=True, labels={"batch": 8}, seed=1)
    assert [record.value for record in records] == [2.0, 1.0, 2.0, 4.0]
    assert (records[0].n, records[0].labels, records[0].interval.low) == (3, {"batch": 8}, 1.0)
    (grouped,) = points_from_records(records, ["batch"], ["latency"])
    assert grouped.values == {"latency": 2.0}
    assert point.to_json()["interval"]["high"] == 4.0


@settings(max_examples=20, deadline=None)
@given(st.integers(6, 60), st.floats(0.5, 0.99))
def test_the_order_statistics_are_those_of_the_binomial(n, level):
    def level_of(rank):
        return 1 - 2 * sum(math.comb(n, k) for k in range(rank + 1)) / 2**n

    interval = median_interval(np.arange(n), level)
    rank = int(interval.low)
    assert interval.high == n - 1 - rank
    assert interval.level == pytest.approx(level_of(rank))
    if interval.level >= level:  # no shorter pair would do
        assert rank + 1 >= n - 2 - rank or level_of(rank + 1) < level
    else:
        assert rank == 0


@pytest.mark.parametrize("n", [5, 12, 1400], ids=str)
def test_the_interval_of_the_median_covers_as_often_as_it_says(n):
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(200 if n > 1000 else 2000, n))
    true = np.log(2)
    intervals = [median_interval(row) for row in draws[: 200 if n > 1000 else None]]
    covered = np.mean([i.low <= true <= i.high for i in intervals])
    assert covered == pytest.approx(intervals[0].level, abs=0.015 if n < 1000 else 0.04)


def test_an_interval_needs_two_values():
    with pytest.raises(UsageError, match="two values"):
        median_interval(np.array([1.0]))
