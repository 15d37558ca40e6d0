"""What norms, input scaling and pools come to once the model is fixed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from holdfast.export.c_steps import Statistics, Windows
from holdfast.models.scaling import InputScaling

Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Scale and shift of each channel."""


def affine_of(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Affine:
    """What ``norm`` does in eval mode: x · scale + shift, worked out in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = (value.double().numpy() for value in (norm.running_mean, norm.running_var))
    scale = 1 / np.sqrt(variance + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double().numpy()
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double().numpy()
    return scale, shift


def statistics_of(norm: nn.BatchNorm1d | nn.BatchNorm2d, factor: float) -> Statistics | None:
    """``norm`` over ``factor`` times a sum as a packed file stores it, if nothing is lost by that."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if norm.affine:
        return None
    mean, deviation = (x.to(torch.float16) for x in (norm.running_mean, norm.running_var.sqrt()))
    exact = torch.equal(mean.float(), norm.running_mean)
    if not exact or not torch.equal(deviation.float().square(), norm.running_var):
        return None
    return Statistics(mean.numpy().view(np.uint16), deviation.numpy().view(np.uint16), norm.eps, factor)


def scaling_of(scaling: InputScaling) -> Affine:
    """What ``scaling`` does after its compression."""
    scale = 1 / scaling.std.double().numpy().reshape(-1)
    shift = -scaling.mean.double().numpy().reshape(-1) * scale
    if isinstance(scaling.norm, nn.BatchNorm2d):
        factor, offset = affine_of(scaling.norm)
        return factor * scale, factor * shift + offset
    return scale, shift


def windows_of(pool: nn.Module, sides: tuple[int, int]) -> tuple[Windows, Windows]:
    """Rows and columns that each output of ``pool`` sees in maps of ``sides``, zeros around them left out.

    Raises ValueError for what this does not hold for.
    """
    if isinstance(pool, nn.AdaptiveAvgPool2d):
        rows, columns = (
            _adaptive(side if count is None else count, side)
            for count, side in zip(_pair(pool.output_size), sides, strict=True)
        )
        return rows, columns
    assert isinstance(pool, nn.MaxPool2d | nn.AvgPool2d)
    kernel, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    if isinstance(pool, nn.AvgPool2d) and (any(padding) or pool.divisor_override is not None):
        raise ValueError("padding or a divisor of its own")
    if isinstance(pool, nn.MaxPool2d) and (pool.dilation not in (1, (1, 1)) or pool.return_indices):
        raise ValueError("dilation or indices")
    rows, columns = (
        _strided(side, kernel[i], stride[i], padding[i], pool.ceil_mode) for i, side in enumerate(sides)
    )
    return rows, columns


def _adaptive(count: int, side: int) -> Windows:
    return [(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]


def _strided(side: int, kernel: int, stride: int, padding: int, ceil: bool) -> Windows:
    room = side + 2 * padding - kernel
    count = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (count - 1) * stride >= side + padding:
        count -= 1  # a window must begin in the map or in the zeros before it
    starts = [i * stride - padding for i in range(count)]
    return [(max(start, 0), min(start + kernel, side)) for start in starts]


def _pair(value: object) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
