"""Checks in float32 and in torch's own fast operations: what runs where there is no native core.

Sums of float32 in float64 cost torch three to ten times as much as in float32, and a convolution with one
output channel as much as five with 64; so here a checksum convolution is a matrix product that makes a plane
for each kernel entry, and a sum of those planes, shifted. Between layers every call costs ten microseconds
and more, whatever it does, so there are few. What float32 costs in precision is accounted for by
``abft.single``; ``reference`` is the specification.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.kernels.types import Window


class Dense:
    """How ``n`` images of (C, P), or of (P, C) if ``last``, lie in memory without gaps.

    The tensors that its methods take have any shape; only their memory matters.
    """

    __slots__ = ("_all", "_batch", "_image", "_matrix", "_strides", "channels", "last", "n", "positions")

    def __init__(self, n: int, channels: int, positions: int, last: bool) -> None:
        self.n, self.channels, self.positions, self.last = n, channels, positions, last
        length = channels * positions
        self._all, self._batch, self._image = (n * length,), (n, length), (length, 1)
        self._matrix = (positions, channels) if last else (channels, positions)
        self._strides = (self._matrix[1], 1)

    def squares(self, x: Tensor) -> float:
        """Σ x², from above: float32 lanes lose less than they are given here.

        Under- and overflow of float32 show as numbers near 0, or as Inf.
        """
        flat = x.as_strided(self._all, (1,))
        return torch.dot(flat, flat).item() * (1 + self._all[0] * 2.0**-27)

    def image_sum(self, x: Tensor) -> Tensor:
        """Cd1 = Σ_n x_n, (C, P) or (P, C); a single image is its own sum, not a copy.

        Error: 16 roundings for each factor of 16 in N (torch sums in cascades).
        """
        if self.n == 1:
            return x.as_strided(self._matrix, self._strides)
        return x.as_strided(self._batch, self._image).sum(0).view(self._matrix)

    def block_sums(self, x: Tensor) -> Tensor:
        """S5 = Σ_{n,m} at each position (P,). Error: 16 roundings for each factor of 16 in N and in M."""
        return self.image_sum(x).sum(1 if self.last else 0)


def difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The smallest and the largest element of ``a`` − ``b``; NaN if there is one."""
    low, high = torch.aminmax(torch.sub(a, b))
    return low.item(), high.item()


class Convolution:
    """Co5 = Cd1 ⊗ Cw1 of ``weight`` Cw1 (C, R, S) and ``window``, in float32.

    Call it with ``total`` (C, H·W), or (H·W, C) if ``channels_last``, contiguous float32, ``size`` (H, W);
    returns (P,) or (1, P) in float32. Error: that of a float32 convolution with Cw1 in float32.
    """

    def __init__(self, weight: Tensor, window: Window) -> None:
        self._kernel = (weight.shape[1], weight.shape[2])
        self._window = window
        self._weight = weight.to(torch.float32)
        entries = self._weight.flatten(1)
        self._by_entry = entries.t().contiguous()  # (R·S, C)
        self._padding = list(window.padding) if any(window.padding) else None
        self._pointwise = len(self._by_entry) == 1 and self._padding is None and window.stride == (1, 1)
        # Planes of few channels would be larger than the map itself.
        self._planes = entries.shape[0] >= entries.shape[1]
        self._views: dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def __call__(self, total: Tensor, size: tuple[int, int], channels_last: bool) -> Tensor:
        """Co5 at the P positions of the output."""
        if not self._planes:
            return self._whole(total.t() if channels_last else total, size)
        entries = self._by_entry
        planes = functional.linear(entries, total) if channels_last else torch.mm(entries, total)
        if self._pointwise:
            return planes
        if self._padding is not None:
            planes = torch.constant_pad_nd(planes.view(-1, *size), self._padding, 0.0)
        view = self._views.get(size)
        if view is None:
            view = self._views[size] = self._shifted(*size)
        return planes.as_strided(*view).reshape(len(entries), -1).sum(0)

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
            (rows, columns, *window.output_size((high, wide), self._kernel)),
            (columns * plane + below * width, plane + beside, down * width, across),
        )

    def _whole(self, planar: Tensor, size: tuple[int, int]) -> Tensor:
        window = self._window
        left, right, top, bottom = window.padding
        image = planar.view(1, -1, *size)
        if (left, top) != (right, bottom):
            image, top, left = functional.pad(image, window.padding), 0, 0
        sums = torch.conv2d(
            image,
            self._weight[None],
            stride=window.stride,
            padding=(top, left),
            dilation=window.dilation,
        )
        return sums.view(-1)


def checksum_convolution(convolution: Convolution, total: Tensor, channels_last: bool) -> Tensor:
    """``convolution`` of ``total`` (C, H, W), or (H, W, C) if ``channels_last``: (P,) in float32."""
    if channels_last:
        size = total.shape[:2]
        matrix = total.reshape(prod(size), -1)
    else:
        size = total.shape[1:]
        matrix = total.reshape(-1, prod(size))
    return convolution(matrix, (size[0], size[1]), channels_last).view(-1)
