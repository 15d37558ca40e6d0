from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from holdfast.bench import (
    Evaluation,
    at_temperature,
    calibration_records,
    fit_temperature,
    reliability,
    temperature_interval,
)
from holdfast.bench.calibration import LIMITS, calibration_error
from holdfast.core.errors import DataError, UsageError


def sample(n: int, temperature: float, classes: int = 2, seed: int = 0) -> Evaluation:
    """Answers that are perfectly calibrated once their logits are divided by ``temperature``."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (n, classes))
    labels = (softmax(true, axis=1).cumsum(1) > rng.random((n, 1))).argmax(1)
    return Evaluation((temperature * true).astype(np.float32), labels)


def loss(found: Evaluation, temperature: float) -> float:
    log_p = log_softmax(found.logits.astype(float) / temperature, axis=1)
    return float(-log_p[np.arange(len(log_p)), found.labels].mean())


@pytest.mark.parametrize(("temperature", "classes"), [(0.5, 2), (1.0, 3), (3.0, 2), (2.0, 10)])
def test_the_temperature_is_found(temperature: float, classes: int) -> None:
    assert fit_temperature(sample(20_000, temperature, classes)) == pytest.approx(temperature, rel=0.05)


def test_the_interval_of_the_temperature_covers_the_truth() -> None:
    hits, spread, width = 0, [], []
    for seed in range(60):
        found = sample(500, 2.0, seed=seed)
        best = fit_temperature(found)
        interval = temperature_interval(found, best)
        assert interval.low < best < interval.high
        hits += interval.low <= 2.0 <= interval.high
        spread.append(1 / best)
        width.append(1 / interval.low - 1 / interval.high)
    assert hits >= 52
    assert np.mean(width) == pytest.approx(2 * 1.96 * np.std(spread), rel=0.3)


@given(st.integers(0, 1000), st.floats(0.3, 4))
@settings(max_examples=15, deadline=None)
def test_no_other_temperature_is_better(seed: int, temperature: float) -> None:
    found = sample(200, temperature, seed=seed)
    best = fit_temperature(found)
    grid = np.geomspace(*LIMITS, 60)
    assert loss(found, best) <= min(loss(found, each) for each in grid) + 1e-7


def test_a_model_that_is_always_right_ends_at_the_limit() -> None:
    labels = np.array([0, 1, 1])
    found = Evaluation(np.eye(2, dtype=np.float32)[labels], labels)
    assert fit_temperature(found) < 2 * LIMITS[0]  # where the loss is 0 to rounding


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.9, 0.9, 0.6, 0.6])
    right = np.array([True, False, True, True])
    # Bins {0.6, 0.6}: 1 - 0.6; {0.9, 0.9}: 0.5 - 0.9.
    assert calibration_error(confidence, right, 2) == pytest.approx((0.4 + 0.4) / 2)
    assert calibration_error(confidence, right, 1) == pytest.approx(0.0)


def test_bins_hold_equal_numbers_and_all_images() -> None:
    found = sample(1003, 1.0)
    bins = reliability(found, 15)
    assert sum(each.n for each in bins) == 1003
    assert max(each.n for each in bins) - min(each.n for each in bins) <= 1
    assert [each.confidence for each in bins] == sorted(each.confidence for each in bins)
    assert sum(each.accuracy * each.n for each in bins) == pytest.approx(found.correct)
    assert all(each.interval.low <= each.accuracy <= each.interval.high for each in bins)


def records(found: Evaluation) -> dict[str, float]:
    return {r.metric: r for r in calibration_records(found, resamples=100) if "bin" not in r.labels}


def test_only_a_wrong_temperature_speaks_against_a_model() -> None:
    wrong, right = (records(sample(4000, temperature)) for temperature in (2.0, 1.0))
    assert wrong["ece"].value > 3 * wrong["ece_if_calibrated"].interval.high
    assert all(
        each["ece"].interval.low <= each["ece"].value <= each["ece"].interval.high for each in (wrong, right)
    )
    assert right["ece"].value <= right["ece_if_calibrated"].interval.high
    assert wrong["cross_entropy"].value > right["cross_entropy"].interval.high
    healed = records(at_temperature(sample(4000, 2.0), 2.0))
    assert healed["ece"].value == pytest.approx(right["ece"].value, abs=1e-6)


def test_reliability_goes_into_records() -> None:
    found = [r for r in calibration_records(sample(300, 1.0), bins=5, resamples=5) if "bin" in r.labels]
    assert [r.labels["bin"] for r in found] == [0, 1, 2, 3, 4]
    assert all(r.metric == "reliability" and r.n == 60 for r in found)


def test_bad_input() -> None:
    found = sample(10, 1.0)
    with pytest.raises(UsageError, match="1 to 10"):
        reliability(found, 11)
    found.logits[3, 0] = np.nan
    with pytest.raises(DataError, match="1 of 10"):
        fit_temperature(found)
