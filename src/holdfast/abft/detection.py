"""CoC-D of one call of a layer: what is summed before the layer runs, and compared afterwards.

Two ways, with the same result up to rounding: ``Exact`` in float64, with the native core where it takes the
tensors; ``Portable`` in float32 with torch's fast operations, for float32 that the core does not take.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from holdfast.abft.single import Least, SingleThreshold
from holdfast.abft.threshold import analytic, rounding_dtype
from holdfast.kernels import BatchStats, Verdict, batch_sum, check_sums, native, portable

if TYPE_CHECKING:
    from holdfast.abft.layers import ProtectedLayer


@dataclass(slots=True)
class Summed:
    """What was summed before the layer ran: Cd1 (C, *space), its statistics, and Co5 (P,).

    ``copied``: whether Cd1 is an exact copy in float64, from which the input can be restored.
    """

    n: int
    cd1: Tensor
    stats: BatchStats
    co5: Tensor
    copied: bool = True

    def agrees(self, other: Summed) -> bool:
        """Whether both come from the same input, as far as the sums can tell."""
        return torch.equal(self.co5, other.co5) and torch.equal(self.cd1, other.cd1)


class Found(NamedTuple):
    """What the comparison found, and the threshold it used."""

    verdict: Verdict
    threshold: float


class Detection(Protocol):
    """CoC-D of one layer."""

    def before(self, x: Tensor) -> Summed:
        """Sum the input ``x``."""

    def after(self, x: Tensor, out: Tensor, summed: Summed) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""


class Exact:
    """In float64, every checksum open to ``guard.tap``."""

    def __init__(self, layer: ProtectedLayer) -> None:
        self.layer = layer

    def before(self, x: Tensor) -> Summed:
        """Sum the input ``x``."""
        layer, tap = self.layer, self.layer.guard.tap
        values, channels_last = layer.arrange(x.detach())
        total, stats = batch_sum(values)
        if tap is not None:
            tap(layer.name, "cd1", total)
            tap(layer.name, "cw1", layer.expected.weights(channels_last))
        co5 = layer.expected(total, channels_last)
        if tap is not None:
            tap(layer.name, "co5", co5)
        return Summed(len(values), total.movedim(-1, 0) if channels_last else total, stats, co5)

    def after(self, x: Tensor, out: Tensor, summed: Summed) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""
        layer, n = self.layer, summed.n
        threshold = layer.factor * analytic(layer.scale, summed.stats, n, rounding_dtype(x, out))
        return Found(layer.check(out, summed.co5, n, threshold), threshold)


_SAFE = (1e-24, 1e30)
"""Sums of squares between which nothing that matters under- or overflows in float32."""


class Portable:
    """In float32. What costs further passes over the input is taken only where the verdict needs it."""

    def __init__(self, layer: ProtectedLayer) -> None:
        self.layer = layer
        self._exact = Exact(layer)
        self._thresholds: dict[tuple[int, torch.dtype], SingleThreshold] = {}
        self._least: dict[tuple[int, int, torch.dtype], Least] = {}
        self._views: dict[tuple[torch.Size, tuple[int, ...]], tuple[int, ...] | bool | None] = {}

    @staticmethod
    def takes(layer: ProtectedLayer, x: Tensor) -> bool:
        """Whether ``layer`` on ``x`` is one for this: float32, and nothing for the native core."""
        if x.dtype is not torch.float32 or (x.is_cpu and native.load() is not None):
            return False
        return _SAFE[0] < float(layer.product.cw1.square().sum()) < _SAFE[1]

    def _arranged(self, x: Tensor) -> tuple[Tensor, bool]:
        """``layer.arrange``, faster for what it has met before."""
        key = x.shape, x.stride()
        view = self._views.get(key)
        if view is None:
            values, last = self.layer.arrange(x)
            as_it_is = values.shape == x.shape and values.stride() == x.stride()
            order = (0, *range(2, x.dim()), 1)
            if as_it_is:
                self._views[key] = last
            elif last and x.dim() > 2 and values.data_ptr() == x.data_ptr():
                self._views[key] = order
            return values, last
        if isinstance(view, tuple):
            return x.permute(view), True
        return x, view

    def before(self, x: Tensor) -> Summed:
        """Sum the input ``x``."""
        values, last = self._arranged(x.detach() if x.requires_grad else x)
        squares = portable.squares(values)
        if not _SAFE[0] < squares < _SAFE[1]:
            return self._exact.before(x)
        n = values.shape[0]
        total = portable.image_sum(values)
        total_squares = squares if n == 1 else portable.squares(total)
        co5 = self.layer.expected(total, last)
        stats = BatchStats(inf, squares, inf, total_squares)
        return Summed(n, total.movedim(-1, 0) if last else total, stats, co5, copied=False)

    def after(self, x: Tensor, out: Tensor, summed: Summed) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""
        if summed.copied or out.dtype is not torch.float32:
            return self._exact.after(x, out, summed)
        layer, n, stats = self.layer, summed.n, summed.stats
        values, last = self._arranged(out.detach() if out.requires_grad else out)
        low, high = portable.difference(portable.block_sums(values, last), summed.co5)
        offset = n * layer.bias_sum
        deviation = max(high - offset, offset - low)
        least = self._least_of(n, x.numel(), rounding_dtype(x, out))
        threshold = layer.factor * least(stats.sum_squares, stats.total_squares)
        if deviation <= threshold and layer.guard.watch is None:  # false for a NaN
            return Found(Verdict(0, 0, deviation, -1), threshold)
        return self._looked_closer(x, out, values, last, summed)

    def _looked_closer(self, x: Tensor, out: Tensor, values: Tensor, last: bool, summed: Summed) -> Found:
        """The verdict with all statistics, and with sums in float64, which overflow nowhere."""
        layer, n, stats, cd1 = self.layer, summed.n, summed.stats, summed.cd1
        if summed.agrees(self.before(x)):
            found = stats._replace(max_abs=float(x.abs().max()), total_max_abs=float(cd1.abs().max()))
        else:  # of an input that has changed since, they say nothing: the least that they can have been
            found = stats._replace(
                max_abs=sqrt(stats.sum_squares / x.numel()),
                total_max_abs=sqrt(stats.total_squares / cd1.numel()),
            )
        if not isfinite(float(summed.co5.sum())):
            summed.co5 = layer.expected(cd1.to(torch.float64).contiguous(), False)
        threshold = layer.factor * self._threshold(n, rounding_dtype(x, out))(found)
        co5 = summed.co5.to(torch.float64)
        summed.stats = found
        return Found(check_sums(values, co5, n * layer.bias_sum, threshold, last), threshold)

    def _threshold(self, n: int, dtype: torch.dtype) -> SingleThreshold:
        key = n, dtype
        if key not in self._thresholds:
            layer = self.layer
            self._thresholds[key] = SingleThreshold.of(layer.scale, layer.product.cw1, n, dtype)
        return self._thresholds[key]

    def _least_of(self, n: int, count: int, dtype: torch.dtype) -> Least:
        key = n, count, dtype
        least = self._least.get(key)
        if least is None:
            least = self._least[key] = self._threshold(n, dtype).least(count)
        return least
