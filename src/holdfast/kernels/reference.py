"""The specification of the kernels, in plain PyTorch and float64. Slow, readable, on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.kernels.types import BatchStats, Verdict, Window


def batch_sum(x: Tensor, weighted: bool = False) -> tuple[Tensor, BatchStats]:
    """Sum a batch over its first dimension: Cd1 = Σ_n D_n (FT-CNN, arXiv 2003.12203), Cd2 = Σ_n n D_n if
    ``weighted``, n from 1.

    ``x`` (N, ...) of any float dtype, N ≥ 1, not empty; returns the sum (...) in float64 and the statistics
    that the analytic threshold needs.
    """
    wide = x.to(torch.float64)
    counted = torch.arange(1, len(x) + 1, dtype=torch.float64, device=x.device)
    total = torch.tensordot(counted, wide, 1) if weighted else wide.sum(0)
    values = (wide.abs().max(), wide.square().sum(), total.abs().max(), total.square().sum())
    return total, BatchStats(*(float(value) for value in values))


def checksum_convolution(total: Tensor, weight: Tensor, window: Window, channels_last: bool) -> Tensor:
    """Convolve the summed input with the summed kernels: Co5 = Cd1 ⊗ Cw1.

    ``total`` (C, H, W), or (H, W, C) if ``channels_last``; ``weight`` (C, R, S); both float64. Returns (P,)
    in float64, P the positions of the output in row-major order. Error: C·R·S roundings of float64.
    """
    planar = total.permute(2, 0, 1) if channels_last else total
    padded = functional.pad(planar[None], window.padding)
    output = functional.conv2d(padded, weight[None], stride=window.stride, dilation=window.dilation)
    return output.reshape(-1)


def block_sums(out: Tensor, channels_last: bool) -> Tensor:
    """S5 = Σ_{n,m} O at each position, in float64.

    ``out`` (N, M, ...), or (N, ..., M) if ``channels_last``, any float dtype; returns (P,), P the product of
    the dimensions in between. Error: N·M roundings of float64.
    """
    return out.to(torch.float64).sum((0, -1 if channels_last else 1)).reshape(-1)


def check_sums(
    out: Tensor, expected: Tensor, offset: float, threshold: float, channels_last: bool
) -> Verdict:
    """Compare the sums of an output over n and m with their checksums: S5 against Co5 + offset.

    ``out`` (N, M, ...), or (N, ..., M) if ``channels_last``, any float dtype; ``expected`` (P,) float64,
    P the product of the dimensions in between. A position is violated unless |S5 − Co5 − offset| ≤ threshold,
    so a NaN always counts. Sums are exact to N·M roundings of float64.
    """
    sums = block_sums(out, channels_last)
    deviation = (sums - (expected + offset)).abs()
    violated = ~(deviation <= threshold)
    finite = sums.isfinite()
    violations, nonfinite = int(violated.sum()), int((~finite).sum())
    if nonfinite:
        largest = float("inf")
    else:
        known = deviation[~deviation.isnan()]
        largest = float(known.max()) if known.numel() else 0.0
    first = int(violated.nonzero()[0]) if violations else -1
    return Verdict(violations, nonfinite, largest, first)
