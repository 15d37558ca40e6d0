"""The checksums of FT-CNN (arXiv 2003.12203), in its notation, in float64.

    Cd1 = Σ_n D_n     Cd2 = Σ_n n D_n     Cw1 = Σ_m W_m     Cw2 = Σ_m m W_m
    Co1 = Cd1 ⊗ W     Co2 = D ⊗ Cw1       Co3 = Cd2 ⊗ W     Co4 = D ⊗ Cw2
    Co5 = Cd1 ⊗ Cw1   Co6 = Cd1 ⊗ Cw2     Co7 = Cd2 ⊗ Cw1

and S1 … S7, the sums of the output blocks O_nm that equal Co1 … Co7 where nothing went wrong. n and m count
from 1: counted from 0, an error in the first row or column would look like a damaged checksum.

With groups, output channel m sees only the input channels of its group. Summed over all m, every input
channel is met by the kernels of its own group, so Co2, Co4, Co5, Co6 and Co7 are convolutions over all input
channels with the sums of each group, concatenated.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 1 << 18  # numbers that are widened at once: they stay in the cache


def kernel_sum(weight: Tensor, groups: int = 1, weighted: bool | Tensor = False) -> Tensor:
    """Cw1 = Σ_m W_m of each group, the groups concatenated; Cw2 = Σ_m m W_m if ``weighted``, m from 1.

    ``weight`` (M, C/groups, ...) of any float dtype; returns (C, ...) in float64. A tensor ``weighted`` (M,)
    stands in for m. Some kernels at a time, so that no copy of the weights is made. Error: M roundings.
    """
    by = _weights(weighted, weight.shape[0], weight)
    grouped = weight.detach().reshape(groups, -1, *weight.shape[1:])
    total = torch.zeros(groups, *weight.shape[1:], dtype=torch.float64, device=weight.device)
    step = max(1, _CHUNK // max(1, total.numel()))
    for begin in range(0, grouped.shape[1], step):
        wide = grouped[:, begin : begin + step].to(torch.float64)
        if by is not None:
            factor = by.reshape(groups, -1)[:, begin : begin + step]
            wide = wide * factor.reshape(*factor.shape, *[1] * (wide.dim() - 2))
        total += wide.sum(1)
    return total.flatten(0, 1)


def image_sum(d: Tensor, weighted: bool | Tensor = False) -> Tensor:
    """Cd1 = Σ_n D_n, or Cd2 = Σ_n n D_n with n from 1; ``d`` (N, ...) of any float dtype, result (...).

    A tensor ``weighted`` (N,) stands in for n. One image after the other, so that no copy of the batch is
    made. Error: N roundings of float64.
    """
    by = _weights(weighted, len(d), d)
    total = torch.zeros(d.shape[1:], dtype=torch.float64, device=d.device)
    for n, image in enumerate(d.detach()):
        total.add_(image.to(torch.float64), alpha=1.0 if by is None else float(by[n]))
    return total


def _weights(weighted: bool | Tensor, count: int, like: Tensor) -> Tensor | None:
    if isinstance(weighted, Tensor):
        return weighted
    return counted(count, like) if weighted else None


def bias_sum(bias: Tensor | None) -> float:
    """Σ_m b_m in float64; 0 without bias. Checksum convolutions are free of bias: N·Σb is added to Co5."""
    return 0.0 if bias is None else float(bias.detach().to(torch.float64).sum())


def counted(count: int, like: Tensor) -> Tensor:
    """1, 2, …, ``count`` in float64 on the device of ``like``."""
    return torch.arange(1, count + 1, dtype=torch.float64, device=like.device)


class Sums(NamedTuple):
    """S1 … S7, or Co1 … Co7, at V positions: (M, V), (N, V), (M, V), (N, V), (V,), (V,), (V,)."""

    s1: Tensor
    s2: Tensor
    s3: Tensor
    s4: Tensor
    s5: Tensor
    s6: Tensor
    s7: Tensor


def block_sums(blocks: Tensor) -> Sums:
    """S1 … S7 of ``blocks`` (N, M, V) float64, free of bias."""
    by_n, by_m = counted(blocks.shape[0], blocks), counted(blocks.shape[1], blocks)
    s1, s2 = blocks.sum(0), blocks.sum(1)
    s3 = torch.einsum("n,nmv->mv", by_n, blocks)
    s4 = torch.einsum("m,nmv->nv", by_m, blocks)
    return Sums(s1, s2, s3, s4, s1.sum(0), by_m @ s1, by_n @ s2)
