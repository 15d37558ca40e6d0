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
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    level: float = 0.95,
    *,
    groups: NDArray[np.integer] | None = None,
) -> tuple[float, Interval]:
    """ROC-AUC and its DeLong interval (DeLong 1988; midranks as in Sun and Xu 2014), O(n log n).

    ``labels`` (n,) of 0 and 1, ``scores`` (n,) finite, higher meaning class 1; ties count one half. The
    interval is clipped to [0, 1]. ``groups`` (n,) are numbers of what samples have in common, such as one map
    of dead channels: the interval then counts groups, not samples (Obuchowski 1997), with Student's quantile.
    Raises UsageError for one class only, for shapes that differ, for NaN, for a single group.
    """
    auc, parts = _structure(labels, scores)
    half = _quantile(level, groups) * sqrt(_variance(parts, labels, groups))
    method = "delong" if groups is None else "delong, by group"
    return auc, Interval(low=max(0.0, auc - half), high=min(1.0, auc + half), level=level, method=method)


def auc_difference(
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    others: NDArray[np.floating],
    level: float = 0.95,
    *,
    groups: NDArray[np.integer] | None = None,
) -> tuple[float, Interval]:
    """AUC of ``scores`` minus AUC of ``others`` on the same samples, and its paired DeLong interval.

    Arguments and errors as in ``roc_auc``.
    """
    (first, parts), (second, other) = _structure(labels, scores), _structure(labels, others)
    half = _quantile(level, groups) * sqrt(_variance(parts - other, labels, groups))
    method = "paired delong" if groups is None else "paired delong, by group"
    difference = first - second
    return difference, Interval(low=difference - half, high=difference + half, level=level, method=method)


def mean_difference(
    values: NDArray[np.floating],
    others: NDArray[np.floating],
    level: float = 0.95,
    *,
    groups: NDArray[np.integer] | None = None,
) -> tuple[float, Interval]:
    """Mean of ``values`` minus ``others`` over the same samples (n,), and its paired normal interval.

    ``groups`` as in ``roc_auc``. Raises UsageError for shapes that differ, no sample, a single group.
    """
    values, others = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if values.shape != others.shape or values.ndim != 1 or not values.size:
        got = f"{values.shape} and {others.shape}"
        raise UsageError("mean difference", expected="two vectors of one length", got=got)
    apart = values - others
    difference = float(apart.mean())
    half = _quantile(level, groups) * sqrt(_by_group(apart - difference, groups) / len(apart) ** 2)
    method = "paired normal" if groups is None else "paired normal, by group"
    return difference, Interval(low=difference - half, high=difference + half, level=level, method=method)


def _quantile(level: float, groups: NDArray[np.integer] | None) -> float:
    """How many standard errors the interval reaches: Student's, of few groups, whose spread is uncertain."""
    normal = _z(level)
    if groups is None or (count := len(np.unique(groups))) < 2:
        return normal
    from scipy.stats import t  # slow to import

    return float(t.ppf(0.5 + level / 2, count - 1))


def _structure(
    labels: NDArray[np.integer], scores: NDArray[np.floating]
) -> tuple[float, NDArray[np.float64]]:
    """ROC-AUC, and how far each sample's structural component (DeLong 1988) is from it."""
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
    auc = float(v_positive.mean())
    parts = np.empty(m + n)
    parts[labels == 1] = v_positive - auc
    parts[labels == 0] = 1 - (rank_all[m:] - _midranks(negative)) / m - auc
    return auc, parts


def _variance(
    parts: NDArray[np.float64], labels: NDArray[np.integer], groups: NDArray[np.integer] | None
) -> float:
    """Variance of an AUC, or of a difference of two, from the components of its samples."""
    labels = np.asarray(labels)
    m, n = int(np.sum(labels == 1)), int(np.sum(labels == 0))
    if groups is not None:
        return _by_group(parts / np.where(labels == 1, m, n), groups)
    positive, negative = parts[labels == 1], parts[labels == 0]
    return float((positive.var(ddof=1) / m if m > 1 else 0.0) + (negative.var(ddof=1) / n if n > 1 else 0.0))


def _by_group(parts: NDArray[np.float64], groups: NDArray[np.integer] | None) -> float:
    """Variance of the sum of ``parts``, of mean 0, which within a group may depend on each other."""
    sums = parts
    if groups is not None:
        _, inverse = np.unique(groups, return_inverse=True)
        sums = np.bincount(inverse.reshape(-1), weights=parts).astype(np.float64)
        if len(sums) < 2:
            raise UsageError("interval by group", expected="at least two groups", got=len(sums))
    count = len(sums)
    return float(np.sum(sums**2)) * (count / (count - 1) if count > 1 else 1.0)


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


def median_interval(values: NDArray[np.floating], level: float = 0.95) -> Interval:
    """Interval of the median of ``values`` (n,) from order statistics; it assumes no distribution.

    The shortest symmetric pair of ranks that covers the median with at least ``level`` (binomial; David and
    Nagaraja, Order Statistics, 7.1). The interval carries the level that it really has: with fewer than six
    values no pair reaches 0.95, and from the least to the greatest is 1 - 2^(1-n). Raises UsageError for
    fewer than two values.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n < 2:
        raise UsageError("interval of a median", expected="at least two values", got=n)
    _z(level)  # checks it
    # Least and greatest miss the median where all n lie on one side of it; a rank further in adds C(n, k).
    tail, term, rank = 0.5**n, 0.5**n, 0
    while n <= 1000 and rank + 1 < n - 1 - rank:
        term *= (n - rank) / (rank + 1)
        if 1 - 2 * (tail + term) < level:
            break
        tail, rank = tail + term, rank + 1
    if n > 1000:  # 0.5**n nears zero; the normal approximation is exact to a rank there
        rank = max(0, int(n / 2 - _z(level) * sqrt(n) / 2) - 1)
        tail = NormalDist().cdf((rank + 0.5 - n / 2) / (sqrt(n) / 2))
    low, high = float(ordered[rank]), float(ordered[n - 1 - rank])
    return Interval(low=low, high=high, level=min(1 - 2 * tail, 1 - 1e-9), method="order statistics")
