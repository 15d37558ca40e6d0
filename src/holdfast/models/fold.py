"""Weights with the batch norm that follows them folded in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.protocols import effective_weight


def folded(layer: Any, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Weight (M, C/groups, *kernel) and bias (M,) or None that do what ``layer`` and then ``norm`` do.

    Computed in float64 and rounded once to the dtype of the weight; a norm always leaves a bias.
    """
    weight, bias = effective_weight(layer).detach(), layer.bias
    if norm is None:
        return weight, None if bias is None else bias.detach()
    scale = norm_scale(norm)
    mean = norm.running_mean
    assert mean is not None  # is_foldable saw to that
    shift = torch.zeros_like(scale) if not norm.affine else norm.bias.detach().to(torch.float64)
    before = -mean.to(torch.float64)
    if bias is not None:
        before = before + bias.detach().to(torch.float64)
    kernels = weight.to(torch.float64) * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return kernels.to(weight.dtype), (shift + before * scale).to(weight.dtype)


def norm_scale(norm: nn.BatchNorm2d) -> Tensor:
    """What ``norm`` multiplies each channel with, (M,) float64."""
    variance = norm.running_var
    assert variance is not None  # is_foldable saw to that
    scale = (variance.to(torch.float64) + norm.eps).rsqrt()
    return scale * norm.weight.detach().to(torch.float64) if norm.affine else scale


def is_foldable(norm: nn.Module) -> bool:
    """Whether ``norm`` multiplies and shifts each channel by fixed numbers."""
    return (
        isinstance(norm, nn.BatchNorm2d)
        and type(norm).forward is nn.BatchNorm2d.forward
        and norm.running_mean is not None
        and norm.running_var is not None
        and not norm.training
    )
