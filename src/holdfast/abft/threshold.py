"""The analytic threshold: how far S5 may be from Co5 by rounding alone.

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
   variance: nothing for float32, decisive for float64.
7. Products below the smallest normal number may be flushed to zero: N M K of it are allowed for.

    τ = SIGMAS (u/√3) √(1 + (v/u)² (N M/K + N + M)) (Δ Ω + N β) + one-sided + flushed

SIGMAS = 8 standard deviations: a normal variable exceeds that once in 10¹⁵ draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import torch
from torch import Tensor

from holdfast.abft.checksum import kernel_sum
from holdfast.kernels import BatchStats

SIGMAS = 8.0
_FLOAT64_ROUNDOFF = 2.0**-53


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
    weight: Tensor, bias: Tensor | None = None, groups: int = 1, inside: bool = True
) -> WeightScale:
    """Statistics of ``weight`` (M, C/groups, ...) and ``bias`` (M,)."""
    rows = weight.detach().to(torch.float64).flatten(1)
    grouped = kernel_sum(weight, groups).reshape(groups, -1)
    together = max(float(_omega(grouped).sum()), float(_omega(rows.sum(0, keepdim=True)).sum()))
    mean, spread = rows.mean(1).abs(), rows.std(1, correction=0)
    outputs, products = rows.shape
    apart = float(_omega(rows).sum())
    added = 0.0
    if bias is not None:
        wide = bias.detach().to(torch.float64)
        alike = together / apart if apart else float(outputs)
        added = sqrt(products * float(wide.square().sum() * (1 + alike) + wide.sum().square()))
    return WeightScale(
        products=products,
        outputs=outputs,
        kernels=sqrt(apart + together),
        bias=added,
        one_sided=float(mean[mean > spread].sum()),
        inside=inside,
    )


def _omega(rows: Tensor) -> Tensor:
    return rows.square().sum(1) + rows.sum(1).square() / 2


def analytic(scale: WeightScale, stats: BatchStats, n: int, dtype: torch.dtype) -> float:
    """τ for a batch of ``n`` with ``stats``, for outputs of ``dtype``, in the unit of the output.

    The dtype is the coarsest that the layer computes in. Fault-free outputs of finite inputs stay below.
    """
    unit, tiny = _ROUNDOFF[dtype], _TINY[dtype]
    k, m = scale.products, scale.outputs
    all_squares, total_squares = (stats.sum_squares, stats.total_squares) if scale.inside else (inf, inf)
    apart = min(k * n * stats.max_abs * stats.max_abs, all_squares)
    together = min(k * stats.total_max_abs * stats.total_max_abs, total_squares)
    ratio = _FLOAT64_ROUNDOFF / unit
    checking = sqrt(1 + ratio * ratio * (n * m / k + n + m))
    random = SIGMAS * unit / sqrt(3) * checking * (sqrt(apart + together) * scale.kernels + n * scale.bias)
    steady = unit * (2 / 3) * k * sqrt(k) * scale.one_sided * sqrt(n * apart)
    return random + steady + n * m * k * tiny


_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_ROUNDOFF = {dtype: torch.finfo(dtype).eps / 2 for dtype in _FLOATS}
_TINY = {dtype: torch.finfo(dtype).tiny for dtype in _FLOATS}
