"""CoC-D of one layer by the native core: one call before the layer runs, one after, all prepared by shape."""

from __future__ import annotations

import threading
from math import inf, prod, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.abft.detection import Exact, Found
from holdfast.abft.threshold import ROUNDOFF, SIGMAS, WeightScale
from holdfast.kernels import BatchStats, Verdict, native
from holdfast.kernels.native import DETECT_HEAD

if TYPE_CHECKING:
    from holdfast.abft.layers import ProtectedLayer
    from holdfast.kernels import ChecksumConvolution


class _Piece:
    """Memory of one call: float64, and where it starts."""

    __slots__ = ("at", "numbers")

    def __init__(self, count: int) -> None:
        with torch.inference_mode(False):  # it will be used outside as well
            self.numbers = torch.empty(count, dtype=torch.float64)
        self.at = self.numbers.data_ptr()


class _Memory(threading.local):
    """Memory of calls that are over, kept for the next ones of the same thread: fresh pages are slow.

    As much stays as the largest layer needed; several pieces only where layers ran inside each other.
    """

    def __init__(self) -> None:
        self.free: list[_Piece] = []


_MEMORY = _Memory()
_CLEAN = Found(Verdict(0, 0, 0.0, -1), inf)
"""Nothing is off; nobody asked by how much."""


class Noted:
    """What the core noted of one input: its statistics, Co5, Cd1; read when asked for."""

    __slots__ = ("by", "piece")

    form = None

    def __init__(self, by: Compiled, piece: _Piece) -> None:
        self.by, self.piece = by, piece

    @property
    def n(self) -> int:
        """Number of images."""
        return self.by.n

    @property
    def stats(self) -> BatchStats:
        """Statistics of the input."""
        return BatchStats(*self.piece.numbers[:4].tolist())

    @property
    def co5(self) -> Tensor:
        """Co5 (P,), a copy."""
        return self.piece.numbers[DETECT_HEAD : DETECT_HEAD + self.by.positions].clone()

    @property
    def cd1(self) -> Tensor:
        """Cd1 (C, *space), a copy."""
        shape = self.by.shape
        numbers = self.piece.numbers[DETECT_HEAD + self.by.positions :]
        if self.n == 1:
            numbers = numbers.view(torch.float32)
        total = numbers[: prod(shape)].to(torch.float64, copy=True).view(shape)
        return total.movedim(-1, 0) if self.by.channels_last else total


class Compiled:
    """By the native core, for inputs of one shape and layout."""

    def __init__(
        self, layer: ProtectedLayer, x: Tensor, core: native.Kernels, flat: ChecksumConvolution
    ) -> None:
        self.layer = layer
        values, self.channels_last = layer.arrange(x.detach())
        self.n, self.shape = len(values), values.shape[1:]
        channels, *space = [*self.shape[-1:], *self.shape[:-1]] if self.channels_last else self.shape
        if len(layer.product.window.size) < 2:
            space = [1, prod(space)]
        self.outputs = layer.scale.outputs
        self._plan, self.positions, self._size = core.detection(
            (self.n, channels, space[0], space[1]),
            (flat.weight.shape[1], flat.weight.shape[2]),
            flat.window,
            self.outputs,
            channels_last=self.channels_last,
            bias_sum=layer.bias_sum,
            threshold=constants(layer.scale, self.n, torch.float32),
            inside=layer.scale.inside,
            verified=layer.verified,
        )
        self._weight = flat.used(self.channels_last)  # kept: the core reads it where it is
        self._weight_at = self._weight.data_ptr()
        self._before, self._after = core.before_layer, core.after_layer
        self._in_place = values.data_ptr() == x.data_ptr()
        self._layouts: dict[tuple[torch.Size, tuple[int, ...], torch.dtype], bool | None] = {}

    @classmethod
    def of(cls, layer: ProtectedLayer, x: Tensor) -> Compiled | None:
        """For ``layer`` and inputs like ``x``; None where the core is not there, or does not take them."""
        core, flat = native.load(), layer.expected.flat
        if core is None or flat is None or x.dtype is not torch.float32 or not x.is_cpu:
            return None
        return cls(layer, x, core, flat) if layer.expected.window.mode == "zeros" else None

    def before(self, x: Tensor) -> Noted:
        """Sum the input ``x``."""
        values = x if self._in_place else self.layer.arrange(x.detach())[0]
        free = _MEMORY.free
        piece = free.pop() if free else None
        if piece is None or len(piece.numbers) < self._size:
            piece = _Piece(self._size)
        self._before(self._plan, values.data_ptr(), self._weight_at, self.layer.factor, piece.at)
        return Noted(self, piece)

    def after(self, x: Tensor, out: Tensor, summed: Noted) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""
        layer, key = self.layer, (out.shape, out.stride(), out.dtype)
        try:
            last = self._layouts[key]
        except KeyError:
            last = self._layouts[key] = self._layout(out)
        if last is None:
            return Exact(layer).after(x, out, summed)
        at = 0
        if layer.verified:
            again = x if self._in_place else layer.arrange(x.detach())[0]
            at = again.data_ptr()
        violations, nonfinite, deviation, first, threshold, intact = self._after(
            self._plan, at, out.data_ptr(), last, summed.piece.at
        )
        watched = layer.guard.watch is not None
        if intact and not violations and not watched:
            return _CLEAN
        if torch.get_float32_matmul_precision() != "highest":  # the threshold is a wider one
            return Exact(layer).after(x, out, summed)
        return Found(Verdict(violations, nonfinite, deviation, first), threshold, intact)

    def done(self, summed: Noted) -> None:
        """``summed`` is not needed any more."""
        _MEMORY.free.append(summed.piece)

    def _layout(self, out: Tensor) -> bool | None:
        """Whether channels are last in outputs like ``out``; None where the core does not take them."""
        if out.dtype is not torch.float32 or not out.is_cpu:
            return None
        values, last = self.layer.arrange(out.detach())
        fits = values.numel() == self.n * self.outputs * self.positions and len(values) == self.n
        return last if fits and values.data_ptr() == out.data_ptr() else None


def constants(scale: WeightScale, n: int, dtype: torch.dtype) -> tuple[float, ...]:
    """What ``threshold.analytic`` multiplies and adds for batches of ``n``, worked out for the core."""
    k, m, unit, double = scale.products, scale.outputs, ROUNDOFF[dtype], ROUNDOFF[torch.float64]
    ratio = double / unit
    checking = sqrt(1 + ratio * ratio * (n * m / k + n + m))
    steady = (unit + double) * (2 / 3) * k + double * (n + m)
    floor = n * m * k * torch.finfo(dtype).tiny + double * (n + m) * n * sqrt(m / k) * scale.bias
    return (
        float(k * n),
        float(k),
        SIGMAS * unit / sqrt(3) * checking,
        scale.kernels,
        n * scale.bias,
        steady * sqrt(k * n) * scale.one_sided,
        floor,
    )
