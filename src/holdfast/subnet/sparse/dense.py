"""A layer by oneDNN's prepacked products, for layers with too many weights to add them one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.subnet.sparse.graph import Layer


class DenseLayer:
    """Call it with the input and what is added to the product, if anything; not for another batch size."""

    def __init__(self, layer: Layer, images: int, size: tuple[int, int, int]) -> None:
        self._layer, self._packed = layer, None
        weight, self._bias = layer.folded()
        self._weight: Tensor | None = weight
        window = layer.window
        self._place: Any = (list(window.stride), list(window.padding), list(window.dilation), layer.groups)
        if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return
        if layer.linear:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, images)
        else:
            stride, padding, dilation, groups = self._place
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                weight.contiguous(), padding, stride, dilation, groups, [images, *size]
            )
        self._weight = None

    def __call__(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """What the layer makes of ``x``; maps have their channels last in memory where oneDNN runs."""
        stride, padding, dilation, groups = self._place
        if self._layer.linear:
            out = (
                functional.linear(x, self._weight, self._bias)
                if self._weight is not None
                else torch.ops.mkldnn._linear_pointwise(
                    x.contiguous(), self._packed, self._bias, "none", [], ""
                )
            )
        elif self._weight is not None:
            out = functional.conv2d(x, self._weight, self._bias, stride, padding, dilation, groups)
        else:
            out = torch.ops.mkldnn._convolution_pointwise(
                x.contiguous(memory_format=torch.channels_last),
                self._packed,
                self._bias,
                padding,
                stride,
                dilation,
                groups,
                "none",
                [],
                "",
            )
        if residual is not None:
            out += residual
        low, high = self._layer.bounds
        return out if low == -torch.inf else out.clamp_(low, high)
