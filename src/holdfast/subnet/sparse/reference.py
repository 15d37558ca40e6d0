"""What a sparse layer computes, slowly and in plain PyTorch: the specification of the native core."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from holdfast.subnet.sparse.layout import Window
from holdfast.subnet.sparse.weights import SparseWeights


def sums(x: Tensor, weights: SparseWeights, window: Window) -> Tensor:
    """Σ ± of what each kept weight meets in ``x`` (N, C, H, W): (N, M, H', W'), without the scale.

    A weight that is not kept is not multiplied with: an Inf or NaN that only such weights meet does not
    appear in the result, where a dense convolution has 0 · Inf = NaN.
    """
    high, wide = window.output((x.shape[2], x.shape[3]))
    top, left = window.padding
    padded = functional.pad(x, (left, left, top, top))
    out = torch.zeros(len(x), weights.outputs, high, wide, dtype=x.dtype)
    for half, (begin, end) in enumerate(zip(weights.start, weights.start[1:], strict=False)):
        for index in range(begin, end):
            y, z = weights.entry[index] * np.array(window.dilation)
            met = padded[:, weights.channel[index], y :: window.stride[0], z :: window.stride[1]]
            met = met[:, :high, :wide]
            out[:, half // 2] += met if half % 2 == 0 else -met
    return out


def layer(
    x: Tensor,
    weights: SparseWeights,
    window: Window,
    scale: Tensor,
    shift: Tensor,
    residual: Tensor | None = None,
    lowest: float = -torch.inf,
    highest: float = torch.inf,
) -> Tensor:
    """``sums`` · ``scale`` + ``shift`` (each (M,)) [+ ``residual``] within [``lowest``, ``highest``]."""
    out = sums(x, weights, window) * scale[:, None, None] + shift[:, None, None]
    if residual is not None:
        out = out + residual
    return out.clamp(lowest, highest)
