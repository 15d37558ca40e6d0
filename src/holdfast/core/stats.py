"""Intervals: Wilson for rates, DeLong for ROC-AUC, percentile bootstrap for the rest."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.core.result import Interval


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError("confidence level", expected="a number in (0, 1)", got=level)
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson score interval of a rate (Wilson 1927). Raises UsageError unless 0 <= successes <= n, n > 0.

    Numbers that are not whole are effective ones, as weighted samples have them.
    """
    if not 0 <= successes <= n or n == 0:
        raise UsageError("rate", expected="0 <= successes <= n with n > 0", got=f"{successes} of {n}")
    z = _z(level)
    rate, spread = successes / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(rate * (1 - rate) / n + spread / (4 * n))
    # At the edges the exact bound is 0 or 1; rounding must not move it.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low=low, high=high, level=level, method="wilson")


def roc_auc(
    labels: NDArray[np.integer], scores: NDArray[np.floating], level: float = 0.95
) -> tuple[float, Interval]:
    """ROC-AUC and its DeLong interval (DeLong 1988; midranks as in Sun and Xu 2014), O(n log n).

    ``labels`` (n,) of 0 and 1, ``scores`` (n,) finite, higher meaning class 1; ties count one half. The
    interval is clipped to [0, 1]. Raises UsageError for one class only, for shapes that differ, for NaN.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise UsageError(
            "roc_auc", expected="two vectors of one length", got=f"{labels.shape} and {scores.shape}"
        )
    if not np.isfinite(scores).all():
        raise UsageError(
            "roc_auc", expected="finite scores", got=f"{np.sum(~np.isfinite(scores))} non-finite"
        )
    positive, negative = scores[labels == 1], scores[labels == 0]
    m, n = len(positive), len(negative)
    if m == 0 or n == 0 or m + n != len(labels):
        raise UsageError(
            "roc_auc", expected="labels of both 0 and 1, nothing else", got=np.unique(labels).tolist()
        )
    rank_all = _midranks(np.concatenate([positive, negative]))
    v_positive = (rank_all[:m] - _midranks(positive)) / n
    v_negative = 1 - (rank_all[m:] - _midranks(negative)) / m
    auc = float(v_positive.mean())
    variance = (v_positive.var(ddof=1) / m if m > 1 else 0.0) + (v_negative.var(ddof=1) / n if n > 1 else 0.0)
    half = _z(level) * sqrt(variance)
    return auc, Interval(low=max(0.0, auc - half), high=min(1.0, auc + half), level=level, method="delong")


def _midranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def bootstrap(
    values: NDArray[np.floating],
    statistic: Callable[[NDArray[np.floating]], float] = np.median,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile bootstrap interval of ``statistic`` over ``values`` (n,). Raises UsageError if n == 0."""
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        raise UsageError("bootstrap", expected="at least one value", got="none")
    rng = np.random.default_rng(seed)
    draws = [statistic(values[rng.integers(0, values.size, values.size)]) for _ in range(resamples)]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), level=level, method="bootstrap")
