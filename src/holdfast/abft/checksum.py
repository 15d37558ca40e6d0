"""Checksums of weights and their place in the CoC-D equation (FT-CNN, arXiv 2003.12203, in its notation).

    Co5 = (Σ_n D_n) ⊗ (Σ_m W_m) = Σ_n Σ_m O_nm = S5

With groups, output channel m sees only the input channels of its group. Summed over all m, every input
channel is met by the kernels of its own group, so Co5 is one convolution over all input channels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kernel_sum(weight: Tensor, groups: int = 1) -> Tensor:
    """Cw1 = Σ_m W_m of each group, the groups concatenated.

    ``weight`` (M, C/groups, R, S) of any float dtype; returns (C, R, S) in float64. Error: M roundings.
    """
    outputs, channels = weight.shape[:2]
    grouped = weight.detach().to(torch.float64).reshape(groups, outputs // groups, *weight.shape[1:])
    return grouped.sum(1).reshape(groups * channels, *weight.shape[2:])


def bias_sum(bias: Tensor | None) -> float:
    """Σ_m b_m in float64; 0 without bias. Checksum convolutions are free of bias: N·Σb is added to Co5."""
    return 0.0 if bias is None else float(bias.detach().to(torch.float64).sum())
