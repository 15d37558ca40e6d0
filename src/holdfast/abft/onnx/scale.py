"""How far a check in float32 may be off by rounding alone: τ = a ‖d‖ + b for one patch or row d.

Every image and every row of a matrix is checked on its own (a batch of one), so ``abft.threshold`` holds with
N = 1; a and b depend on the weights only and are computed once, ‖d‖ is taken from the input in the graph.
Variances, in units of u² ‖d‖²/3, for kernels W_m and the sum of all, Cw1 = Σ_m c_m W_m:

(a) the outputs' own rounding: Ω² of ``abft.threshold``, items 1–3;
(b) the checksum product runs in float32 as well and rounds like one more output, ω(Cw1)²; counted four times,
    for the rounding of the stored Cw1, of the sums that it is split into (one a kernel entry), and of the
    result;
(c) the sum of the outputs in float32 has the partial sums d · V_j with the kernels V_j = Σ_{i≤j} W_i. With
    Cauchy–Schwarz Σ_j (d · V_j)² ≤ ‖d‖² Σ_j ‖V_j‖². That is reached only if the patch is a multiple of every
    V_j; a quarter of it, (Σ_j ‖V_j‖²)/16 in the variance, allows for a cosine of 1/4 with all of them.
    Outputs that are all alike do reach it, and equal steps round in one direction: for them the worst case is
    added, u ϱ Σ_j ‖V_j‖ ‖d‖, where ϱ = ‖Σ_m W_m‖² / (M Σ_m ‖W_m‖²) is 1/M for independent kernels and 1 for
    equal ones;
(d) kernels of one sign: the one-sided term of ``abft.threshold`` (5), for the W_m and for Cw1.

The bias enters like a term that needs no d (4), and its partial sums as in (c). Adding it rounds equally in
kernels that are equal but for their sign, of which nothing is left in Cw1: u η Σ_m ‖W_m‖ ‖d‖, where η =
σ_max²(W) / Σ_m ‖W_m‖² is 1 for such kernels and about 1/M + 1/K for independent ones. The products below the
smallest normal number are allowed for as flushed to zero (7).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.abft.threshold import SIGMAS, weight_scale

UNIT = 2.0**-24
"""Unit roundoff of float32."""
TINY = 2.0**-126
_CHUNK = 1 << 22
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """τ = ``a`` ‖d‖ + ``b``, in units of the output."""

    a: float
    b: float


def scale(
    kernels: NDArray[np.floating[Any]],
    bias: NDArray[np.floating[Any]] | None = None,
    groups: int = 1,
    blocks: int = 1,
    factor: Float | None = None,
    exact_sum: bool = False,
) -> Scale:
    """The scale of the check with the weights ``factor`` c_m (default 1).

    ``kernels`` (M, C/groups, ...) and ``bias`` (M,). The outputs are summed in float32 in ``blocks``
    blocks and then over these, or in float64 if ``exact_sum``.
    """
    m, products = kernels.shape[0], int(np.prod(kernels.shape[1:]))
    rows = kernels.reshape(m, products).astype(np.float64)
    offsets = np.zeros(m) if bias is None else bias.astype(np.float64)
    if factor is not None:
        rows, offsets = rows * factor[:, None], offsets * factor
    own = weight_scale(torch.from_numpy(rows), torch.from_numpy(offsets), groups)
    total = rows.reshape(groups, m // groups, products).sum(1).reshape(1, -1)
    checksum = weight_scale(torch.from_numpy(total))
    variance = own.kernels**2 + 2 * checksum.kernels**2
    added = own.bias + abs(float(offsets.sum()))
    worst, worst_bias = 0.0, 0.0
    if not exact_sum:
        norms, sums = _partial(rows, groups, blocks), _partial(offsets[:, None], 1, blocks)
        squares = float(np.square(rows).sum())
        alike = float(np.square(total).sum()) / (m * squares) if squares else 0.0
        alike_bias = float(offsets.sum()) ** 2 / (m * float(np.square(offsets).sum()) or 1.0)
        variance += float(np.square(norms).sum()) / 16
        added += sqrt(float(np.square(sums).sum()))
        worst, worst_bias = alike * float(norms.sum()), alike_bias * float(sums.sum())
    if offsets.any():
        worst += _coherence(rows) * float(np.sqrt(np.square(rows).sum(1)).sum())
    steady = (2 / 3) * (products**1.5 * own.one_sided + total.size**1.5 * checksum.one_sided)
    return Scale(
        a=UNIT * (SIGMAS / sqrt(3) * sqrt(variance) + steady + worst),
        b=UNIT * (SIGMAS / sqrt(3) * added + worst_bias) + (m + 1) * total.size * TINY,
    )


def _coherence(rows: Float) -> float:
    """σ_max² / Σ ‖row‖², by power iteration."""
    squares = np.square(rows).sum(1)
    if not squares.any():
        return 0.0
    v = rows[squares.argmax()]
    for _ in range(8):
        v = v / np.linalg.norm(v)
        v = (rows @ v) @ rows
    return float(np.linalg.norm(v) / squares.sum())


def _partial(rows: Float, groups: int, blocks: int) -> Float:
    """Norms of the partial sums of ``rows`` (M, K), first in each block, then over the blocks."""
    m = rows.shape[0]
    size, owners = -(-m // blocks), np.arange(m) // (m // groups)
    starts = range(0, m, size)
    squares = np.zeros(m if blocks == 1 else m + len(starts))
    for columns in np.array_split(rows, max(1, rows.size // _CHUNK), axis=1):
        whole = _prefix(columns, owners)
        if blocks > 1:
            inner = [_prefix(columns[at : at + size], owners[at : at + size]) for at in starts]
            whole = np.concatenate([*inner, whole[[min(at + size, m) - 1 for at in starts]]])
        squares += whole
    return np.sqrt(squares)


def _prefix(rows: Float, owners: NDArray[np.int64]) -> Float:
    """‖Σ_{i≤j} row i‖² for every j; rows of different owners (groups) meet different inputs."""
    done, out = 0.0, []
    for run in np.split(rows, np.flatnonzero(np.diff(owners)) + 1):
        out.append(done + np.square(np.cumsum(run, 0)).sum(1))
        done = float(out[-1][-1])
    return np.concatenate(out)
