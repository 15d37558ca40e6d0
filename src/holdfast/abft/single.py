"""The analytic threshold of checks that are themselves summed in float32 (``kernels.portable``).

Items 1 to 5 and 7 of ``abft.threshold`` hold. In place of item 6, where the checks were in float64:

a. S5. torch sums in cascades: runs of 16 numbers, then runs of 16 of their sums, so that a number enters A =
   a(N) + a(M) partial sums, a(x) = min(x − 1, 16 ⌈log16 x⌉). Those of equal depth are over disjoint sets T of
   blocks, and Σ_T E S_T² ≤ (2/K) Δ² Ω² by 2 and 3, as a block is the last of its own K partial sums: the
   share 2A/K of the variance, and of that of the bias.
b. Cd1 is rounded like that over N, with the share A/K at most.
c. Co5 is a convolution of one image, Cd1, by one kernel, Cw1, in float32: for that layer, 2 gives the
   variance (u²/3) D1² ω(Cw1)², 5 the one-sided error. It sums over the K1 products of all groups: D1² =
   min(K1 max|Cd1|², Σ Cd1²). Rounding Cw1 to float32 has the share 1/K1 of it, the comparison a share of 1/K.

    τ = SIGMAS (u/√3) (√(Δ² Ω² s + D1² ω(Cw1)² s1) + N β √s) + one-sided + one-sided of c + flushed
        s = 1 + (3A + 1)/K, s1 = 1 + 1/K1

It exceeds that of float64 by 1.1 to 2, by more where kernels have few entries and there are many of them.

Larger D means larger τ, and the largest element of D is at least its mean square: with Σ D² and Σ Cd1² alone
τ is at least ``Least``. Almost every deviation is below that; only others need the maxima.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log, sqrt

import torch
from torch import Tensor

from holdfast.abft.threshold import ROUNDOFF, SIGMAS, WeightScale, weight_scale
from holdfast.kernels import BatchStats

_RUN = 16
_TINY = torch.finfo(torch.float32).tiny


def additions(count: int) -> int:
    """How many partial sums a number enters at most when ``count`` of them are summed in a cascade."""
    return min(count - 1, _RUN * ceil(log(max(count, 2), _RUN)))


@dataclass(frozen=True)
class SingleThreshold:
    """τ of a layer with weights of ``scale`` and their checksum of ``checksum``, for batches of ``n``.

    ``unit``: roundoff of what the layer computes in.
    """

    scale: WeightScale
    checksum: WeightScale
    n: int
    unit: float

    @classmethod
    def of(cls, scale: WeightScale, cw1: Tensor, n: int, dtype: torch.dtype) -> SingleThreshold:
        """For weights of ``scale`` whose checksum is ``cw1`` (C, ...)."""
        return cls(scale, weight_scale(cw1[None], inside=scale.inside), n, ROUNDOFF[dtype])

    def __call__(self, stats: BatchStats) -> float:
        """τ of a batch with ``stats``, in the unit of the output."""
        k, k1 = self.scale.products, self.checksum.products
        squares, total_squares = (stats.sum_squares, stats.total_squares) if self.scale.inside else (inf, inf)
        largest = stats.total_max_abs * stats.total_max_abs
        apart = min(k * self.n * stats.max_abs * stats.max_abs, squares)
        return self._tau(apart, min(k * largest, total_squares), min(k1 * largest, total_squares))

    def _tau(self, apart: float, together: float, whole: float) -> float:
        """The formula for Δ² = ``apart`` + ``together`` and D1² = ``whole``."""
        scale, checksum, n, unit = self.scale, self.checksum, self.n, self.unit
        k, m, k1 = scale.products, scale.outputs, checksum.products
        share = 1 + (3 * (additions(n) + additions(m)) + 1) / k
        own = whole * checksum.kernels**2 / 2 * (1 + 1 / k1)  # WeightScale counts a single kernel twice
        deviations = sqrt((apart + together) * scale.kernels**2 * share + own) + n * scale.bias * sqrt(share)
        steady = k * sqrt(k) * scale.one_sided * sqrt(n * apart)
        steady += k1 * sqrt(k1) * checksum.one_sided * sqrt(whole)
        return SIGMAS * unit / sqrt(3) * deviations + unit * (2 / 3) * steady + (n * m * k + k1) * _TINY

    def least(self, count: int) -> Least:
        """A bound from below, for batches of ``count`` numbers."""
        k, k1, each = self.scale.products, self.checksum.products, count // self.n
        apart, together, whole = min(1.0, k * self.n / count), min(1.0, k / each), min(1.0, k1 / each)
        fixed = self._tau(0.0, 0.0, 0.0)
        return Least(fixed, self._tau(apart, 0.0, 0.0) - fixed, self._tau(0.0, together, whole) - fixed)


@dataclass(frozen=True, slots=True)
class Least:
    """√((a ‖D‖)² + (b ‖Cd1‖)²) + c ≤ τ."""

    c: float
    a: float
    b: float

    def __call__(self, squares: float, total_squares: float) -> float:
        """The bound for Σ D² and Σ Cd1²."""
        return sqrt(self.a * self.a * squares + self.b * self.b * total_squares) + self.c
