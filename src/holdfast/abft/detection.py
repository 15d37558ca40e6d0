"""CoC-D of one call of a layer: what is summed before the layer runs, and compared afterwards.

Three ways, with the same result up to rounding: ``Exact`` in float64, step by step; ``compiled.Compiled``,
the same in two calls of the native core; ``Portable`` in float32 with torch's fast operations, where there is
no core.

Where a layer says ``verified``, its input is compared with Cd1 afterwards: what a damaged D does to O cancels
in S5 as far as Σ_m W_m is zero, as it nearly is in the last layer of a trained classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from holdfast.abft.single import Least, SingleThreshold
from holdfast.abft.threshold import analytic, rounding_dtype
from holdfast.kernels import BatchStats, Verdict, batch_sum, native, portable

if TYPE_CHECKING:
    from holdfast.abft.layers import ProtectedLayer


@dataclass(slots=True)
class Summed:
    """What was summed before the layer ran: Cd1 and its statistics, and Co5.

    In float64 ``total`` is Cd1 (C, *space), a copy from which the input can be restored. In float32 it is the
    matrix (C, P) or (P, C) of ``form``, and Co5 may have a dimension of 1 before P.
    """

    n: int
    total: Tensor
    stats: BatchStats
    co5: Tensor
    form: _Form | None = None

    @property
    def cd1(self) -> Tensor:
        """Cd1 (C, *space)."""
        if self.form is None:
            return self.total
        planar = self.total.t() if self.form.dense.last else self.total
        return planar.reshape(-1, *self.form.space)

    def agrees(self, other: Summed) -> bool:
        """Whether both come from the same input, as far as the sums can tell."""
        return torch.equal(self.co5, other.co5) and torch.equal(self.total, other.total)


class Found(NamedTuple):
    """What the comparison found, the threshold it used, and whether the input is still what was summed."""

    verdict: Verdict
    threshold: float
    intact: bool = True

    @property
    def clean(self) -> bool:
        """Whether nothing is off."""
        return self.intact and not self.verdict.violations


class Detection(Protocol):
    """CoC-D of one layer."""

    def before(self, x: Tensor) -> Any:
        """Sum the input ``x``: a ``Summed``, or something of its own with n, cd1, co5, stats and form."""

    def after(self, x: Tensor, out: Tensor, summed: Any) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""

    def done(self, summed: Any) -> None:
        """``summed`` is not needed any more."""


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

    def after(self, x: Tensor, out: Tensor, summed: Any) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""
        layer, n = self.layer, summed.n
        threshold = layer.factor * analytic(layer.scale, summed.stats, n, rounding_dtype(x, out))
        intact = not layer.verified or torch.equal(_again(layer, x), summed.cd1)
        return Found(layer.check(out, summed.co5, n, threshold), threshold, intact)

    def done(self, summed: Any) -> None:
        """``summed`` is not needed any more."""


def _again(layer: ProtectedLayer, x: Tensor) -> Tensor:
    """Cd1 (C, *space) of ``x`` as it is now, by the same kernel as before."""
    values, channels_last = layer.arrange(x.detach())
    total, _ = batch_sum(values)
    return total.movedim(-1, 0) if channels_last else total


_SAFE = (1e-24, 1e30)
"""Sums of squares between which nothing that matters under- or overflows in float32."""


class _Form:
    """Tensors of one shape and layout, inputs or outputs of one layer: how they lie in memory."""

    __slots__ = ("dense", "in_place", "size", "space")

    def __init__(self, layer: ProtectedLayer, x: Tensor) -> None:
        values, last = layer.arrange(x)
        self.in_place = values.data_ptr() == x.data_ptr()
        self.space = values.shape[1:-1] if last else values.shape[2:]
        channels = values.shape[-1 if last else 1]
        self.dense = portable.Dense(len(values), channels, self.space.numel(), last)
        flat = len(self.space) == 2 and len(layer.product.window.size) == 2
        self.size = (self.space[0], self.space[1]) if flat else (1, self.space.numel())


class Portable:
    """In float32. What costs further passes over the input is taken only where the verdict needs it."""

    def __init__(self, layer: ProtectedLayer) -> None:
        self.layer = layer
        self._exact = Exact(layer)
        self._convolution = layer.expected.portable()
        self._thresholds: dict[tuple[int, bool], SingleThreshold] = {}
        self._least: dict[tuple[int, int, bool], Least] = {}
        self._forms: dict[tuple[torch.Size, tuple[int, ...]], _Form] = {}

    @staticmethod
    def takes(layer: ProtectedLayer, x: Tensor) -> bool:
        """Whether ``layer`` on ``x`` is one for this: float32, and nothing for the native core."""
        if x.dtype is not torch.float32 or (x.is_cpu and native.load() is not None):
            return False
        return _SAFE[0] < float(layer.product.cw1.square().sum()) < _SAFE[1]

    def _dense(self, x: Tensor) -> tuple[Tensor, _Form]:
        """``x`` without gaps in memory, itself if possible, and how it lies there."""
        if x.requires_grad:
            x = x.detach()
        key = x.shape, x.stride()
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = _Form(self.layer, x)
        return (x if form.in_place else self.layer.arrange(x)[0]), form

    def before(self, x: Tensor) -> Summed:
        """Sum the input ``x``."""
        values, form = self._dense(x)
        dense = form.dense
        squares = dense.squares(values)
        if not _SAFE[0] < squares < _SAFE[1]:
            return self._exact.before(x)
        total, total_squares = dense.image_sum(values), squares
        if dense.n > 1:
            flat = total.view(-1)
            total_squares = torch.dot(flat, flat).item() * (1 + flat.shape[0] * 2.0**-27)
        elif self.layer.verified:
            total = total.clone()  # of the input it would say nothing
        if self._convolution is not None:
            co5 = self._convolution(total, form.size, dense.last)
        else:
            shape = (*form.space, -1) if dense.last else (-1, *form.space)
            co5 = self.layer.expected(total.view(shape), dense.last)
        return Summed(dense.n, total, BatchStats(inf, squares, inf, total_squares), co5, form)

    def after(self, x: Tensor, out: Tensor, summed: Summed) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""
        if summed.form is None or out.dtype is not torch.float32:
            return self._exact.after(x, out, summed)
        layer, n, stats = self.layer, summed.n, summed.stats
        intact = not layer.verified or torch.equal(
            summed.form.dense.image_sum(self._dense(x)[0]), summed.total
        )
        values, form = self._dense(out)
        low, high = portable.difference(form.dense.block_sums(values), summed.co5)
        offset = n * layer.bias_sum
        deviation = max(high - offset, offset - low)
        fine = torch.get_float32_matmul_precision() == "highest"
        threshold = layer.factor * self._least_of(n, x.numel(), fine)(stats.sum_squares, stats.total_squares)
        if deviation <= threshold and layer.guard.watch is None:  # false for a NaN
            return Found(Verdict(0, 0, deviation, -1), threshold, intact)
        return self._looked_closer(x, out, summed)._replace(intact=intact)

    def done(self, summed: Summed) -> None:
        """``summed`` is not needed any more."""

    def _looked_closer(self, x: Tensor, out: Tensor, summed: Summed) -> Found:
        """The verdict with all statistics, and with sums in float64, which overflow nowhere."""
        layer, n, stats, total = self.layer, summed.n, summed.stats, summed.total
        if summed.agrees(self.before(x)):
            found = stats._replace(max_abs=float(x.abs().max()), total_max_abs=float(total.abs().max()))
        else:  # of an input that has changed since, they say nothing: the least that they can have been
            found = stats._replace(
                max_abs=sqrt(stats.sum_squares / x.numel()),
                total_max_abs=sqrt(stats.total_squares / total.numel()),
            )
        if not isfinite(float(summed.co5.sum())):
            summed.co5 = layer.expected(summed.cd1.to(torch.float64).contiguous(), False)
        threshold = layer.factor * self._threshold(n, rounding_dtype(x, out) is torch.float32)(found)
        summed.stats = found
        return Found(layer.check(out, summed.co5.to(torch.float64).view(-1), n, threshold), threshold)

    def _threshold(self, n: int, fine: bool) -> SingleThreshold:
        key = n, fine
        if key not in self._thresholds:
            layer, dtype = self.layer, torch.float32 if fine else torch.bfloat16
            self._thresholds[key] = SingleThreshold.of(layer.scale, layer.product.cw1, n, dtype)
        return self._thresholds[key]

    def _least_of(self, n: int, count: int, fine: bool) -> Least:
        key = n, count, fine
        least = self._least.get(key)
        if least is None:
            least = self._least[key] = self._threshold(n, fine).least(count)
        return least
