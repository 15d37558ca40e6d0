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
4. The bias b enters the partial sums of all N images alike: + N β with

       β² = K (Σ_m b_m² (1 + κ) (1 + (3/64) χ_m) + (Σ b)²)

   where κ = max(...) / Σ_m ω(w_m)² of 3 is the number of kernels that are alike: their products round alike.
   Kernels of few values (a constant, ±1) on equal inputs make equal steps, and on a bias that is larger than
   all of them equal steps round in one direction: K of them may be off by u |b| each, which is SIGMAS (u/√3)
   √(3/64) K |b|. Of steps of both signs the share ρ is left over. So χ = K ρ² = (Σ_k w_k)² / ‖w‖² where the
   values of a kernel repeat, else 0.
5. Kernels of one sign (|μ| > σ) sum up steadily, and equal steps round in one direction. For them the worst
   case counts: Σ_j u |μ| √j ‖d‖ ≤ (2/3) u K^1.5 |μ| ‖d‖ for each image, √N Δ over the batch. Of other kernels
   with few values the share ρ of that is left over, which is SIGMAS (u/√3) √(χ/48) |Σ_k w_k| ‖d‖: for them
   (Σ_k w_k)² χ/48 is added to ω².
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

from dataclasses import dataclass, field
from math import inf, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.abft.checksum import counted, kernel_sum
from holdfast.kernels import BatchStats

SIGMAS = 8.0
_FLOAT64_ROUNDOFF = 2.0**-53
_CHUNK = 1 << 18  # numbers that are widened at once: they stay in the cache
_SAMPLE = 64


class Kernels(NamedTuple):
    """Ω, β and the one-sided |μ| of each kernel as a layer of its own, (M,) float64; a single 0 for all."""

    kernels: Tensor
    bias: Tensor
    one_sided: Tensor

    @classmethod
    def of(cls, omega: Tensor, share: Tensor, offsets: Tensor, steady: Tensor) -> Kernels:
        """From ω², β²/b², b and |μ|, (M,) each."""
        beta = share.sqrt() * offsets.abs()
        return cls((2 * omega).sqrt(), *(row if row.any() else row[:1].clone() for row in (beta, steady)))


@dataclass(frozen=True)
class WeightScale:
    """What the threshold needs of a layer's weights, in float64, computed once.

    ``products`` K, ``outputs`` M; ``kernels`` Ω, ``bias`` β, ``one_sided`` Σ |μ_m| over the
    kernels with |μ| > σ. ``inside``: patches hold no element twice (zero padding), so Σ D² bounds them.
    ``each``: the same of every kernel alone; not of weighted ones.
    """

    products: int
    outputs: int
    kernels: float
    bias: float
    one_sided: float
    inside: bool = True
    each: Kernels | None = field(default=None, compare=False, repr=False)


def weight_scale(
    weight: Tensor, bias: Tensor | None = None, groups: int = 1, inside: bool = True, weighted: bool = False
) -> WeightScale:
    """Statistics of ``weight`` (M, C/groups, ...) and ``bias`` (M,); of m W_m and m b_m if ``weighted``."""
    return _scale(weight, bias, _rows(weight), kernel_sum(weight, groups, weighted), groups, inside, weighted)


def weight_scales(
    weight: Tensor, bias: Tensor | None, cw1: Tensor, cw2: Tensor, groups: int = 1, inside: bool = True
) -> tuple[WeightScale, WeightScale]:
    """``weight_scale`` plain and weighted, given Cw1 and Cw2 of ``weight``, which is read once."""
    rows = _rows(weight)
    return (
        _scale(weight, bias, rows, cw1, groups, inside, weighted=False),
        _scale(weight, bias, rows, cw2, groups, inside, weighted=True),
    )


def _scale(
    weight: Tensor,
    bias: Tensor | None,
    rows: tuple[Tensor, Tensor, Tensor, Tensor],
    total: Tensor,
    groups: int,
    inside: bool,
    weighted: bool,
) -> WeightScale:
    outputs, products = weight.shape[0], weight[0].numel()
    factor = counted(outputs, weight) if weighted else torch.ones(outputs, dtype=torch.float64)
    *lines, few = rows
    squares, sums, steady = (factor * row for row in lines)
    squares = squares * factor
    grouped = total.reshape(groups, -1)
    together = float(_omegas(grouped.reshape(1, -1)))
    if groups > 1:
        # Of grouped kernels either the groups or their sum over all m may be the worse.
        together = max(float(_omegas(grouped).sum()), float(_omegas(grouped.sum(0, keepdim=True))))
    drift = _drift(squares, sums, few)
    omega = _omega(squares, sums, drift, products)
    apart, added = float(omega.sum()), 0.0
    offsets = torch.zeros_like(omega) if bias is None else bias.detach().to(torch.float64) * factor
    steps = 1 + 3 / 64 * drift
    if bias is not None:
        alike = together / apart if apart else float(outputs)
        own = (offsets.square() * steps).sum()
        added = sqrt(products * float(own * (1 + alike) + offsets.sum().square()))
    return WeightScale(
        products=products,
        outputs=outputs,
        kernels=sqrt(apart + together),
        bias=added,
        one_sided=float(steady.sum()),
        inside=inside,
        each=None if weighted else Kernels.of(omega, products * (2 * steps + 1), offsets, steady),
    )


def _rows(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Σ w², Σ w, |μ| where |μ| > σ (else 0) and ``_few`` of each kernel, (M,); some kernels at a time."""
    last = weight.detach().movedim(1, -1)
    flat = (last if last.is_contiguous() else weight.detach()).flatten(1)  # in whatever order
    squares, sums = [], []
    for chunk in torch.split(flat, max(1, _CHUNK // max(1, flat.shape[1]))):
        wide = chunk.to(torch.float64)
        sums.append(wide.sum(1))
        squares.append(torch.linalg.vecdot(wide, wide))
    square, total = torch.cat(squares), torch.cat(sums)
    mean = total.abs() / flat.shape[1]
    spread = (square / flat.shape[1] - mean.square()).clamp(min=0.0).sqrt()
    return square, total, torch.where(mean > spread, mean, 0.0), _few(flat)


def _few(kernels: Tensor) -> Tensor:
    """Whether a kernel (M, K) has few values: its first numbers repeat, four times and more."""
    some = kernels[:, :_SAMPLE].to(torch.float64).abs().sort(1).values
    return 4 * (1 + (some.diff(dim=1) > 0).sum(1)) <= some.shape[1]


def _drift(squares: Tensor, sums: Tensor, few: Tensor) -> Tensor:
    """χ of item 4."""
    return torch.where(few, sums.square() / squares, 0.0).nan_to_num(0.0)


def _omega(squares: Tensor, sums: Tensor, drift: Tensor, products: int) -> Tensor:
    """ω² = ‖w‖² + (Σ w)² (1/2 + χ/48), without the last where the kernel is of one sign (K ρ² > K/2)."""
    return squares + sums.square() * (0.5 + torch.where(2 * drift > products, 0.0, drift / 48))


def _omegas(kernels: Tensor) -> Tensor:
    """ω² of ``kernels`` (M, K)."""
    squares, sums = kernels.square().sum(1), kernels.sum(1)
    return _omega(squares, sums, _drift(squares, sums, _few(kernels)), kernels.shape[1])


def analytic(scale: WeightScale, stats: BatchStats, n: int, dtype: torch.dtype) -> float:
    """τ for a batch of ``n`` with ``stats``, for outputs of ``dtype``, in the unit of the output.

    The dtype is the coarsest that the layer computes in. Fault-free outputs of finite inputs stay below.
    """
    return _Share.of(scale, stats, n, dtype, n, n * scale.outputs).tau(scale)


class _Share(NamedTuple):
    """τ = a Ω + b β + c Σ|μ| + d: what the input and the dtype have to do with it."""

    a: float
    b: float
    c: float
    d: float

    @classmethod
    def of(
        cls,
        scale: WeightScale,
        stats: BatchStats,
        n: int,
        dtype: torch.dtype,
        alike: float,
        blocks: float,
        single: bool = False,
    ) -> _Share:
        """``alike``: how often the bias enters, ``blocks``: how often a block, by their weights.

        ``single``: for one kernel of ``scale``.
        """
        unit, tiny = ROUNDOFF[dtype], _TINY[dtype]
        k, m = scale.products, 1 if single else scale.outputs
        all_squares, total_squares = (stats.sum_squares, stats.total_squares) if scale.inside else (inf, inf)
        apart = min(k * n * stats.max_abs * stats.max_abs, all_squares)
        together = min(k * stats.total_max_abs * stats.total_max_abs, total_squares)
        ratio = _FLOAT64_ROUNDOFF / unit
        random = SIGMAS * unit / sqrt(3) * sqrt(1 + ratio * ratio * (n * m / k + n + m))
        sums = _FLOAT64_ROUNDOFF * (n + m)
        return cls(
            random * sqrt(apart + together),
            alike * (random + sums * sqrt(m / k)),
            sqrt(k * n * apart) * ((unit + _FLOAT64_ROUNDOFF) * (2 / 3) * k + sums),
            blocks * k * tiny,
        )

    def tau(self, scale: WeightScale) -> float:
        """τ of the whole layer."""
        return self.a * scale.kernels + self.b * scale.bias + self.c * scale.one_sided + self.d

    def taus(self, each: Kernels) -> Tensor:
        """τ (M, 1) of every kernel alone."""
        return (self.a * each.kernels + self.b * each.bias + self.c * each.one_sided + self.d)[:, None]


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
    plain: WeightScale, by_m: WeightScale, d: Tensor, stats: BatchStats, dtype: torch.dtype
) -> Thresholds:
    """τ1 … τ7 of one call: ``plain`` and ``by_m`` (weighted) scales of ``weight_scale``, ``d`` (N, ...).

    ``stats`` are those of ``d``. Reads ``d`` where it holds more than one image: for use after a fault.
    """
    assert plain.each is not None
    n, m = d.shape[0], plain.outputs
    images = _image_stats(d, stats)
    heavy = _weighted_stats(images)
    counts, counts_m = n * (n + 1) / 2, m * (m + 1) / 2

    def of_images(scale: WeightScale, blocks: float) -> Tensor:
        taus = [_Share.of(scale, each, 1, dtype, 1, blocks).tau(scale) for each in images]
        return torch.tensor(taus, dtype=torch.float64)[:, None]

    def of_batch(scale: WeightScale, about: BatchStats, count: float, blocks: float) -> float:
        return _Share.of(scale, about, n, dtype, count, blocks).tau(scale)

    return Thresholds(
        _Share.of(plain, stats, n, dtype, n, n, single=True).taus(plain.each),
        of_images(plain, m),
        _Share.of(plain, heavy, n, dtype, counts, counts, single=True).taus(plain.each),
        of_images(by_m, counts_m),
        of_batch(plain, stats, n, n * m),
        of_batch(by_m, stats, n, n * counts_m),
        of_batch(plain, heavy, counts, counts * m),
    )


def _image_stats(d: Tensor, stats: BatchStats) -> list[BatchStats]:
    """Statistics of each image as a batch of its own."""
    if len(d) == 1:
        return [BatchStats(stats.max_abs, stats.sum_squares, stats.max_abs, stats.sum_squares)]
    found = []
    for image in d.detach() if d.is_contiguous() else d.detach().movedim(1, -1):
        least, most = (float(each) for each in image.aminmax())
        largest = max(abs(least), abs(most))
        narrow = image.dtype is torch.float32 and 1e-12 < largest < 1e12  # squares stay in its range
        squares = float(torch.linalg.vector_norm(image, dtype=None if narrow else torch.float64)) ** 2
        found.append(BatchStats(largest, squares, largest, squares))
    return found


def _weighted_stats(images: list[BatchStats]) -> BatchStats:
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
