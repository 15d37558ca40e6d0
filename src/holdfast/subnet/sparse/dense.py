"""A layer by its product: oneDNN's prepacked one where torch has oneDNN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.subnet.sparse.graph import Layer

Product = Callable[[Tensor, Tensor | None], Tensor]


def dense_layer(layer: Layer, images: int, size: tuple[int, int, int]) -> Product:
    """``layer`` for batches of ``images`` of ``size`` (C, H, W): call it with the input and the residual.

    Where oneDNN runs, maps that come out have their channels last in memory.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return _plain(layer)
    return _linear(layer, images) if layer.linear else _convolution(layer, images, size)


def _plain(layer: Layer) -> Product:
    weight, bias = layer.folded()
    window = layer.window

    def product(x: Tensor, residual: Tensor | None) -> Tensor:
        if layer.linear:
            out = functional.linear(x, weight, bias)
        else:
            place = window.stride, window.padding, window.dilation
            out = functional.conv2d(x, weight, bias, *place, layer.groups)
        return _finished(out, residual, layer.bounds)

    return product


def _linear(layer: Layer, images: int) -> Product:
    weight, bias = layer.folded()
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, images)

    def product(x: Tensor, residual: Tensor | None) -> Tensor:
        out = torch.ops.mkldnn._linear_pointwise(x.contiguous(), packed, bias, "none", [], "")
        return _finished(out, residual, layer.bounds)

    return product


def _convolution(layer: Layer, images: int, size: tuple[int, int, int]) -> Product:
    weight, bias = layer.folded()
    window = layer.window
    place = list(window.padding), list(window.stride), list(window.dilation), layer.groups
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight.contiguous(), *place, [images, *size])
    low, high = layer.bounds
    relu, bounded = (low, high) == (0, torch.inf), low != -torch.inf
    attribute = "relu" if relu else "hardtanh" if bounded else "none"
    scalars = [low, high] if bounded and not relu else []

    def product(x: Tensor, residual: Tensor | None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        convolution = torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            out: Tensor = convolution(x, packed, bias, *place, attribute, scalars, "")
            return out
        other = residual.contiguous(memory_format=torch.channels_last)
        unary = "relu" if relu else None
        out = convolution.binary(x, other, packed, bias, *place, "add", 1.0, unary, [], None)
        return out if relu else _finished(out, None, layer.bounds)

    return product


def _finished(out: Tensor, residual: Tensor | None, bounds: tuple[float, float]) -> Tensor:
    if residual is not None:
        out = out + residual
    return out if bounds[0] == -torch.inf else out.clamp_(*bounds)
