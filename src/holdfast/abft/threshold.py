"""The analytic thresholds: how far S1 … S7 may be from Co1 … Co7 by rounding alone.

After V-ABFT (arXiv 2602.08043), which bounds the *variance* of rounding errors by statistics of the operands
instead of their worst case. Derivation, for unit roundoff u:

1. One output is a sum of K products d_k w_k, each addition rounded by at most u·|S_j| of the partial sum S_j.
   Taken as uniform and independent, the errors have the variance (u²/3) Σ_j S_j².
2. For a given patch d and kernel entries with mean μ around which they scatter independently of d,
   E S_j² ≤ ‖d‖² (‖w‖²/K + j μ²) (Cauchy–Schwarz on Σ_{i≤j} d_i), so
   Σ_j S_j² ≤ ‖d‖² ω(w)²  with  ω(w)² = ‖w‖² + (Σ_k w_k)²/2.
3. Errors of different images and channels are independent and their variances add, unless operands repeat
   (equal images, equal kernels): then the errors are equal and add themselves. How far they repeat shows in
   the sums: for r equal kernels ‖Σ_m w_m‖² = r² ‖w‖², for independent ones r ‖w‖². Both cases are covered by

       Ω² = Σ_m ω(w_m)² + max( Σ_g ω(Σ_{m in g} w_m)², ω(Σ_m w_m)² )
       Δ² = min(K N max|D|², Σ D²) + min(K max|Cd1|², Σ Cd1²)

   where Δ² bounds Σ_n ‖d_n‖² + ‖Σ_n d_n‖² of the patches at every position of the output.
4. The bias b enters the partial sums of all N images alike: + N β with β² = K (Σ b² (1 + κ) + (Σ b)²), where
   κ = max(...) / Σ_m ω(w_m)² of 3 is the number of kernels that are alike: their products round alike.
5. Kernels of one sign (|μ| > σ) sum up steadily, and equal steps round in one direction. For them the worst
   case counts: Σ_j u |μ| √j ‖d‖ ≤ (2/3) u K^1.5 |μ| ‖d‖ for each image, √N Δ over the batch.
6. S5 and Co5 are computed in float64 with unit roundoff v. They add the share (v/u)² (N M / K + N + M) to the
   variance: nothing for float32, decisive for float64. Where outputs are of one sign, as by one-sided kernels
   or a large bias, equal steps round in one direction here too: v (N + M) Σ |O|, with Σ |O| at most
   √K Σ|μ| √N Δ and N √(M/K) β.
7. Products below the smallest normal number may be flushed to zero: N M K of it are allowed for (of
   weighted sums as many as the weights say).

    τ = SIGMAS (u/√3) √(1 + (v/u)² (N M/K + N + M)) (Δ Ω + N β) + one-sided + flushed

SIGMAS = 8 standard deviations: a normal variable exceeds that once in 10¹⁵ draws.

The other sums are covered by the same formula. S1 of channel m is the S5 of the single kernel W_m, S2 of
image n that of the single image D_n; weighting by m is a layer with the kernels m W_m, by n a batch of n D_n.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.abft.checksum import counted, kernel_sum
from holdfast.kernels import BatchStats

SIGMAS = 8.0
_FLOAT64_ROUNDOFF = 2.0**-53
_CHUNK = 1 << 22


@dataclass(frozen=True)
class WeightScale:
    """What the threshold needs of a layer's weights, in float64, computed once.

    ``products`` K, ``outputs`` M; ``kernels`` Ω, ``bias`` β, ``one_sided`` Σ |μ_m| over the
    kernels with |μ| > σ. ``inside``: patches hold no element twice (zero padding), so Σ D² bounds them.
    """

    products: int
    outputs: int
    kernels: float
    bias: float
    one_sided: float
    inside: bool = True


def weight_scale(
    weight: Tensor, bias: Tensor | None = None, groups: int = 1, inside: bool = True, weighted: bool = False
) -> WeightScale:
    """Statistics of ``weight`` (M, C/groups, ...) and ``bias`` (M,); of m W_m and m b_m if ``weighted``."""
    outputs, products = weight.shape[0], weight[0].numel()
    factor = counted(outputs, weight) if weighted else torch.ones(outputs, dtype=torch.float64)
    squares, sums, steady = (factor * row for row in _rows(weight))
    squares = squares * factor
    grouped = kernel_sum(weight, groups, weighted).reshape(groups, -1)
    whole = _omega(grouped.square().sum(), grouped.sum())
    if groups > 1:
        # Of grouped kernels either the groups or their sum over all m may be the worse.
        each = sum(float(_omega(row.square().sum(), row.sum())) for row in grouped)
        kernels = weight.detach().to(torch.float64).flatten(1)
        together = max(each, float(_omega((factor @ kernels).square().sum(), factor @ kernels.sum(1))))
    else:
        together = float(whole)
    apart = float(_omega(squares, sums).sum())
    added = 0.0
    if bias is not None:
        wide = bias.detach().to(torch.float64) * factor
        alike = together / apart if apart else float(outputs)
        added = sqrt(products * float(wide.square().sum() * (1 + alike) + wide.sum().square()))
    return WeightScale(
        products=products,
        outputs=outputs,
        kernels=sqrt(apart + together),
        bias=added,
        one_sided=float(steady.sum()),
        inside=inside,
    )


def _rows(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σ w², Σ w and |μ| where |μ| > σ (else 0) of each kernel, (M,) float64; some kernels at a time."""
    chunks = list(_row_chunks(weight))
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))  # type: ignore[return-value]


def _row_chunks(weight: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    flat = weight.detach().flatten(1)
    for chunk in torch.split(flat, max(1, _CHUNK // max(1, flat.shape[1]))):
        wide = chunk.to(torch.float64)
        mean, spread = wide.mean(1).abs(), wide.std(1, correction=0)
        yield wide.square().sum(1), wide.sum(1), torch.where(mean > spread, mean, 0.0)


def _omega(squares: Tensor, sums: Tensor) -> Tensor:
    """ω² = ‖w‖² + (Σ w)²/2."""
    return squares + sums.square() / 2


def analytic(scale: WeightScale, stats: BatchStats, n: int, dtype: torch.dtype) -> float:
    """τ for a batch of ``n`` with ``stats``, for outputs of ``dtype``, in the unit of the output.

    The dtype is the coarsest that the layer computes in. Fault-free outputs of finite inputs stay below.
    """
    return _tau(scale, stats, n, dtype, n, n * scale.outputs)


def _tau(
    scale: WeightScale, stats: BatchStats, n: int, dtype: torch.dtype, alike: float, blocks: float
) -> float:
    """The formula; ``alike``: how often the bias enters, ``blocks``: how often a block, by their weights."""
    unit, tiny = ROUNDOFF[dtype], _TINY[dtype]
    k, m = scale.products, scale.outputs
    all_squares, total_squares = (stats.sum_squares, stats.total_squares) if scale.inside else (inf, inf)
    apart = min(k * n * stats.max_abs * stats.max_abs, all_squares)
    together = min(k * stats.total_max_abs * stats.total_max_abs, total_squares)
    ratio = _FLOAT64_ROUNDOFF / unit
    checking = sqrt(1 + ratio * ratio * (n * m / k + n + m))
    deviations = sqrt(apart + together) * scale.kernels + alike * scale.bias
    random = SIGMAS * unit / sqrt(3) * checking * deviations
    together_steady = sqrt(k) * scale.one_sided * sqrt(n * apart)
    steady = (unit + _FLOAT64_ROUNDOFF) * (2 / 3) * k * together_steady
    sums = _FLOAT64_ROUNDOFF * (n + m) * (together_steady + alike * sqrt(m / k) * scale.bias)
    return random + steady + sums + blocks * k * tiny


class Thresholds(NamedTuple):
    """How far each sum may be off, in units of the output; t1, t3 (M, 1), t2, t4 (N, 1), the rest numbers."""

    t1: Tensor
    t2: Tensor
    t3: Tensor
    t4: Tensor
    t5: float
    t6: float
    t7: float

    def times(self, factor: float) -> Thresholds:
        """All of them times ``factor``."""
        return Thresholds._make(each * factor for each in self)


def thresholds(
    plain: WeightScale,
    by_m: WeightScale,
    weight: Tensor,
    bias: Tensor | None,
    d: Tensor,
    stats: BatchStats,
    dtype: torch.dtype,
) -> Thresholds:
    """τ1 … τ7 of one call: ``plain`` and ``by_m`` (weighted) scales, ``weight`` (M, ...), ``d`` (N, ...).

    ``stats`` are those of ``d``. Slower than ``analytic``: for use after a fault.
    """
    n, k = d.shape[0], plain.products
    images = [_image_stats(image) for image in d.detach()]
    heavy = _weighted_stats(d, images)
    m = plain.outputs
    counts, counts_m = n * (n + 1) / 2, m * (m + 1) / 2
    squares, sums, steady = (row.tolist() for row in _rows(weight))
    offsets = [0.0] * len(squares) if bias is None else bias.detach().to(torch.float64).tolist()
    kernels = [
        WeightScale(k, 1, sqrt(2 * (s + t * t / 2)), sqrt(3 * k) * abs(b), u, plain.inside)
        for s, t, u, b in zip(squares, sums, steady, offsets, strict=True)
    ]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)[:, None]

    return Thresholds(
        column([_tau(each, stats, n, dtype, n, n) for each in kernels]),
        column([_tau(plain, each, 1, dtype, 1, m) for each in images]),
        column([_tau(each, heavy, n, dtype, counts, counts) for each in kernels]),
        column([_tau(by_m, each, 1, dtype, 1, counts_m) for each in images]),
        _tau(plain, stats, n, dtype, n, n * m),
        _tau(by_m, stats, n, dtype, n, n * counts_m),
        _tau(plain, heavy, n, dtype, counts, counts * m),
    )


def _image_stats(image: Tensor) -> BatchStats:
    wide = image.to(torch.float64)
    largest, squares = float(wide.abs().max()), float(wide.square().sum())
    return BatchStats(largest, squares, largest, squares)


def _weighted_stats(d: Tensor, images: list[BatchStats]) -> BatchStats:
    """Statistics of the batch n D_n; those of its sum by the triangle inequality."""
    largest = max(i * each.max_abs for i, each in enumerate(images, 1))
    squares = sum(i * i * each.sum_squares for i, each in enumerate(images, 1))
    total_max = sum(i * each.max_abs for i, each in enumerate(images, 1))
    total_squares = sum(i * sqrt(each.sum_squares) for i, each in enumerate(images, 1)) ** 2
    return BatchStats(largest, squares, total_max, total_squares)


_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ROUNDOFF = {dtype: torch.finfo(dtype).eps / 2 for dtype in _FLOATS}
"""Unit roundoff of the dtypes that layers compute in."""
_TINY = {dtype: torch.finfo(dtype).tiny for dtype in _FLOATS}


def rounding_dtype(x: Tensor, out: Tensor) -> torch.dtype:
    """The coarsest dtype that a layer with input ``x`` and output ``out`` computed in."""
    coarse = out.dtype if torch.finfo(out.dtype).eps >= torch.finfo(x.dtype).eps else x.dtype
    if coarse is torch.float32 and torch.get_float32_matmul_precision() != "highest":
        return torch.bfloat16
    return coarse
