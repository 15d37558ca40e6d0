"""Statistics of streams in fixed memory: add blocks in any cut, merge what others found."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.core.result import Interval

Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.int64]

_BINS = 1 << 16
_LAST = 0x7F7F  # the upper half of the largest finite float32
_KEYS = np.concatenate([np.arange(0x8000 + _LAST, 0x7FFF, -1), np.arange(_LAST + 1)])
"""Bins of finite values, ascending."""

_ZERO = _LAST + 1
"""Where zero is among them."""


def _edges() -> NDArray[np.float64]:
    upper = np.append(np.arange(_LAST + 1, dtype=np.uint32) << 16, np.uint32(0x7F7FFFFF)).view(np.float32)
    positive = upper.astype(np.float64)
    return np.concatenate([-positive[:0:-1], positive])


@dataclass
class ScalarMoments:
    """Number, mean and sum of squared deviations of values (Chan et al. 1983)."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def combine(self, n: int, mean: float, m2: float) -> None:
        """Add ``n`` > 0 values of that mean and sum of squared deviations."""
        total, step = self.n + n, mean - self.mean
        self.m2 += m2 + step * step * self.n * n / total
        self.mean += step * n / total
        self.n = total

    @property
    def variance(self) -> float:
        """Variance (n − 1); 0 for fewer than two values."""
        return self.m2 / (self.n - 1) if self.n > 1 else 0.0


class Spectrum(ScalarMoments):
    """Histogram of any float32 values, whatever their range, in 512 KiB: bins exact, merging exact.

    A value's bin is the upper half of its float32: sign, exponent and 7 bits of mantissa, so that bins are
    at most 0.8 % wide. Beside it moments, ``low`` and ``high`` of the finite values; ``whole`` says that all
    are whole numbers; ``nan`` and ``infinite`` values are counted apart. What is below 2⁻¹²⁶ in size may
    count as ``zero``.
    """

    EDGES = _edges()
    """Edges (65,281,) of the bins of ``counts()``; zero is one of them."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(_BINS, dtype=np.int64)
        super().__init__()
        self.nan = self.infinite = 0
        self.whole = True
        self.low, self.high = np.inf, -np.inf

    def add(self, values: Floats) -> None:
        """Count ``values`` of any shape; float64 is rounded to float32."""
        with np.errstate(over="ignore"):
            flat = np.asarray(values, dtype=np.float32).ravel() + np.float32(0)  # makes −0 to 0
        finite = np.isfinite(flat)
        if not finite.all():
            nan = int(np.isnan(flat).sum())
            self.nan, self.infinite = self.nan + nan, self.infinite + int((~finite).sum()) - nan
            flat = flat[finite]
        if len(flat) == 0:
            return
        self._counts += np.bincount(flat.view(np.uint32) >> np.uint32(16), minlength=_BINS)
        self.whole = self.whole and bool((flat == np.rint(flat)).all())
        mean = float(flat.mean(dtype=np.float64))
        m2 = float(np.square(flat.astype(np.float64) - mean).sum())
        self.combine(len(flat), mean, m2)
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))

    def merge(self, other: Spectrum) -> None:
        """Add what ``other`` has counted."""
        self._counts += other._counts
        self.nan, self.infinite = self.nan + other.nan, self.infinite + other.infinite
        self.whole = self.whole and other.whole
        if other.n:
            self.combine(other.n, other.mean, other.m2)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def zero(self) -> int:
        """Number of zeros."""
        return int(self._counts[0])

    @property
    def negative(self) -> int:
        """Number of negative values."""
        return int(self._counts[0x8000:].sum())

    @property
    def std(self) -> float:
        """Standard deviation (n − 1) of the finite values; 0 for fewer than two."""
        return sqrt(self.variance)

    def counts(self) -> Counts:
        """Counts (65,280,) of finite values by ascending value; bin k is between ``EDGES[k : k + 2]``."""
        counts: Counts = self._counts[_KEYS]
        return counts

    def quantile(self, q: float, *, nonzero: bool = False) -> float:
        """The ``q`` quantile of the finite values to 0.8 %. Raises UsageError where there is none."""
        counts = self.counts()
        if nonzero:
            counts[_ZERO] = 0
        total = int(counts.sum())
        if total == 0 or not 0 <= q <= 1:
            got = f"q={q} of {total}"
            raise UsageError("quantile", expected="0 <= q <= 1 and at least one value", got=got)
        cumulative = np.cumsum(counts)
        k = int(np.searchsorted(cumulative, max(q * total, 1)))
        share = (q * total - (cumulative[k] - counts[k])) / counts[k]
        value = self.EDGES[k] + min(max(share, 0.0), 1.0) * (self.EDGES[k + 1] - self.EDGES[k])
        return float(min(max(value if abs(value) > 1e-38 else 0.0, self.low), self.high))

    def histogram(self, edges: Floats, *, nonzero: bool = False) -> tuple[NDArray[np.float64], Counts]:
        """Counts between the bin edges nearest to ascending ``edges``: these edges (k + 1,) and counts (k,).

        The edges are moved, by at most 0.4 % of their value, so that the counts stay exact. Zeros are left
        out if ``nonzero``.
        """
        above = np.clip(np.searchsorted(self.EDGES, edges), 1, len(self.EDGES) - 1)
        nearer = edges - self.EDGES[above - 1] < self.EDGES[above] - edges
        places = np.unique(above - nearer)
        counts = self.counts()
        counts[_ZERO] *= not nonzero
        cumulative = np.concatenate([[0], np.cumsum(counts)])
        return self.EDGES[places], np.diff(cumulative[places])


def separation(low: Spectrum, high: Spectrum) -> tuple[float, Interval] | None:
    """ROC-AUC of the value as a score of ``high`` against ``low``, with DeLong's interval (1988).

    Values in one bin tie. None with fewer than two values on either side.
    """
    a, b = low.counts().astype(np.float64), high.counts().astype(np.float64)
    m, n = a.sum(), b.sum()
    if m < 2 or n < 2:
        return None
    of_high = (np.cumsum(a) - a / 2) / m
    of_low = 1 - (np.cumsum(b) - b / 2) / n
    auc = float(b @ of_high / n)
    variance = b @ (of_high - auc) ** 2 / (n * (n - 1)) + a @ (of_low - auc) ** 2 / (m * (m - 1))
    half = NormalDist().inv_cdf(0.975) * sqrt(variance)
    return auc, Interval(low=max(0.0, auc - half), high=min(1.0, auc + half), method="delong")


class ImageMoments:
    """Mean, spread and occupancy of every cell over ``n`` images; ``left_out`` had a NaN or infinity.

    ``mean`` and ``m2`` (C, H, W) float64, ``hits`` (C, H, W) int64: in how many images a cell is not zero.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.n = self.left_out = 0
        self.mean, self.m2 = np.zeros(shape), np.zeros(shape)
        self.hits: Counts = np.zeros(shape, dtype=np.int64)

    def add(self, images: NDArray[np.float32]) -> None:
        """Count ``images`` (n, C, H, W)."""
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        self.left_out += int((~finite).sum())
        images = images if finite.all() else images[finite]
        if len(images) == 0:
            return
        mean = images.mean(axis=0, dtype=np.float64)
        m2 = np.zeros(mean.shape)
        for image in images:  # one at a time: a block in float64 would take twice its memory
            m2 += np.square(image - mean)
        self._combine(len(images), mean, m2, (images != 0).sum(axis=0))

    def merge(self, other: ImageMoments) -> None:
        """Add what ``other`` has counted."""
        self.left_out += other.left_out
        if other.n:
            self._combine(other.n, other.mean, other.m2, other.hits)

    def _combine(self, n: int, mean: NDArray[np.float64], m2: NDArray[np.float64], hits: Counts) -> None:
        total, step = self.n + n, mean - self.mean
        self.m2 = self.m2 + m2 + step * step * (self.n * n / total)
        self.mean = self.mean + step * (n / total)
        self.hits = self.hits + hits
        self.n = total

    @property
    def variance_of_mean(self) -> NDArray[np.float64]:
        """Squared standard error (C, H, W) of ``mean``; infinite for fewer than two images."""
        return self.m2 / (self.n * (self.n - 1)) if self.n > 1 else np.full(self.mean.shape, np.inf)


def significance(low: ImageMoments, high: ImageMoments, least: int = 25) -> NDArray[np.float64]:
    """Difference ``high`` − ``low`` of the means in standard errors (C, H, W) (Welch 1947).

    NaN where fewer than ``least`` images of both together hit a cell: there the difference is not Gaussian.
    """
    variance = low.variance_of_mean + high.variance_of_mean
    known = (low.hits + high.hits >= least) & (variance > 0) & np.isfinite(variance)
    z = np.full(variance.shape, np.nan)
    z[known] = (high.mean - low.mean)[known] / np.sqrt(variance[known])
    return z
