"""Checks in float32 and in torch's own fast operations: what runs where there is no native core.

Sums of float32 in float64 cost torch three to ten times as much as in float32, and a convolution with one
output channel as much as five with 64; so here a checksum convolution is a matrix product that makes a plane
for each kernel entry, and a sum of those planes, shifted. Only that last sum is in float64. What float32
costs in precision is accounted for by ``abft.single``; ``reference`` is the specification.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.kernels.types import Window


def image_sum(x: Tensor) -> Tensor:
    """Cd1 = Σ_n x_n of a contiguous ``x`` (N, ...), in its dtype; a single image is its own sum, not a copy.

    Error: 16 roundings for each factor of 16 in N (torch sums in cascades).
    """
    if x.shape[0] == 1:
        return x[0]
    return x.view(x.shape[0], -1).sum(0).view(x.shape[1:])


def squares(x: Tensor) -> float:
    """Σ x² of a contiguous ``x`` in its dtype, from above: float32 lanes lose less than they are given here.

    Under- and overflow of float32 show as numbers near 0, or as Inf.
    """
    flat = x.view(-1)
    return torch.dot(flat, flat).item() * (1 + flat.shape[0] * 2.0**-27)


def block_sums(out: Tensor, channels_last: bool) -> Tensor:
    """S5 = Σ_{n,m} of a contiguous ``out`` at each position (P,), in its dtype.

    ``out`` (N, M, ...), or (N, ..., M) if ``channels_last``. Error: 16 roundings for each factor of 16 in N
    and in M.
    """
    total = image_sum(out)
    if channels_last:
        return total.view(-1, total.shape[-1]).sum(1)
    return total.view(total.shape[0], -1).sum(0)


def difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The smallest and the largest element of ``a`` − ``b``; NaN if there is one."""
    low, high = torch.aminmax(torch.sub(a, b))
    return low.item(), high.item()


class Convolution:
    """Co5 = Cd1 ⊗ Cw1 of ``weight`` Cw1 (C, R, S) and ``window``, in float32 within a kernel entry.

    Call it with ``total`` (C, H, W), or (H, W, C) and ``channels_last``, float32, contiguous; returns (P,),
    in float64 where there are several kernel entries. Error: that of a float32 convolution with Cw1 in
    float32.
    """

    def __init__(self, weight: Tensor, window: Window) -> None:
        self._kernel = weight.shape[1:]
        self._window = window
        self._weight = weight.to(torch.float32)
        entries = self._weight.flatten(1)
        self._by_entry = entries.t().contiguous()  # (R·S, C)
        self._padding = list(window.padding) if any(window.padding) else None
        self._pointwise = len(self._by_entry) == 1 and self._padding is None
        # Planes of few channels would be larger than the map itself.
        self._planes = entries.shape[0] >= entries.shape[1]
        self._views: dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def __call__(self, total: Tensor, channels_last: bool) -> Tensor:
        """Co5 (P,)."""
        if not self._planes:
            return self._whole(total.permute(2, 0, 1) if channels_last else total)
        if self._pointwise and self._window.stride != (1, 1):
            down, right = self._window.stride
            total = total[::down, ::right] if channels_last else total[:, ::down, ::right]
        if channels_last:
            high, wide, channels = total.shape
            planes = functional.linear(self._by_entry, total.reshape(-1, channels))
        else:
            channels, high, wide = total.shape
            planes = torch.mm(self._by_entry, total.reshape(channels, -1))
        if self._pointwise:
            return planes.view(-1)
        planes = planes.view(-1, high, wide)
        if self._padding is not None:
            planes = torch.constant_pad_nd(planes, self._padding, 0.0)
        view = self._views.get((high, wide))
        if view is None:
            view = self._views[high, wide] = self._shifted(high, wide)
        return planes.as_strided(*view).sum((0, 1), dtype=torch.float64).view(-1)

    def _shifted(self, high: int, wide: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Size (R, S, *output) and strides of the planes, shifted to where their kernel entries meet the map.

        Entry (r, s) of output (y, x) is element (y·down + r·below, x·across + s·beside) of plane (r, s).
        """
        window, (rows, columns) = self._window, self._kernel
        left, right, top, bottom = window.padding
        width = wide + left + right
        plane = (high + top + bottom) * width
        (down, across), (below, beside) = window.stride, window.dilation
        return (
            (rows, columns, *window.output_size((high, wide), (rows, columns))),
            (columns * plane + below * width, plane + beside, down * width, across),
        )

    def _whole(self, planar: Tensor) -> Tensor:
        window = self._window
        if self._padding is not None:
            planar = torch.constant_pad_nd(planar, self._padding, 0.0)
        sums = functional.conv2d(
            planar[None], self._weight[None], stride=window.stride, dilation=window.dilation
        )
        return sums.view(-1)
