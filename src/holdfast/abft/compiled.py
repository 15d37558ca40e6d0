"""CoC-D of one layer by the native core: one call before the layer runs, one after, all prepared by shape."""

from __future__ import annotations

import threading
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holdfast.abft.detection import Exact, Found, Summed
from holdfast.abft.threshold import ROUNDOFF, SIGMAS, WeightScale
from holdfast.kernels import BatchStats, Verdict, native
from holdfast.kernels.native import DETECT_HEAD

if TYPE_CHECKING:
    from holdfast.abft.layers import ProtectedLayer


class _Memory(threading.local):
    """Memory of calls that are over, kept for the next ones of the same thread: fresh pages are slow.

    As much stays as the largest layer needed; several pieces only where layers ran inside each other.
    """

    def __init__(self) -> None:
        self.free: list[Tensor] = []

    def take(self, count: int) -> Tensor:
        """At least ``count`` float64."""
        memory = self.free.pop() if self.free else None
        if memory is None or memory.numel() < count:
            with torch.inference_mode(False):  # it will be used outside as well
                memory = torch.empty(count, dtype=torch.float64)
        return memory

    def give(self, memory: Tensor) -> None:
        """Take ``memory`` back."""
        self.free.append(memory)


_MEMORY = _Memory()
_COMPUTED_IN = (torch.float32, torch.bfloat16)
"""What float32 layers compute in where torch may not, and may, multiply in a coarser type."""


class Noted:
    """What the core noted of one input, in ``memory``: its statistics, Co5, Cd1; read when asked for."""

    __slots__ = ("memory", "plan")

    form = None

    def __init__(self, plan: Plan, memory: Tensor) -> None:
        self.plan, self.memory = plan, memory

    @property
    def n(self) -> int:
        """Number of images."""
        return self.plan.n

    @property
    def stats(self) -> BatchStats:
        """Statistics of the input."""
        return BatchStats(*self.memory[:4].tolist())

    @property
    def co5(self) -> Tensor:
        """Co5 (P,), a copy."""
        return self.memory[DETECT_HEAD : DETECT_HEAD + self.plan.positions].clone()

    @property
    def cd1(self) -> Tensor:
        """Cd1 (C, *space), a copy."""
        shape = self.plan.shape
        numbers = self.memory[DETECT_HEAD + self.plan.positions :]
        if self.n == 1:
            numbers = numbers.view(torch.float32)
        total = numbers[: prod(shape)].to(torch.float64, copy=True).view(shape)
        return total.movedim(-1, 0) if self.plan.channels_last else total


class Plan:
    """Everything about inputs of one shape and layout. Raises ValueError where they are not for the core."""

    def __init__(self, layer: ProtectedLayer, x: Tensor, unit: torch.dtype) -> None:
        kernels, flat = native.load(), layer.expected.flat
        values, self.channels_last = layer.arrange(x.detach())
        if kernels is None or flat is None or layer.expected.window.mode != "zeros":
            raise ValueError("not for the native core")
        self.in_place = values.data_ptr() == x.data_ptr()
        self.n, self.shape = len(values), values.shape[1:]
        channels, *space = [*self.shape[-1:], *self.shape[:-1]] if self.channels_last else self.shape
        if len(layer.product.window.size) < 2:
            space = [1, prod(space)]
        self._weight = flat.used(self.channels_last)  # kept: the core reads it where it is
        self.weight = self._weight.data_ptr()
        self.outputs = layer.scale.outputs
        self.native, self.positions, self.size = kernels.detection(
            (self.n, channels, space[0], space[1]),
            (self._weight.shape[1], self._weight.shape[2]),
            flat.window,
            self.outputs,
            channels_last=self.channels_last,
            bias_sum=layer.bias_sum,
            threshold=constants(layer.scale, self.n, unit),
            inside=layer.scale.inside,
            verified=layer.verified,
        )


class Compiled:
    """By the native core."""

    def __init__(self, layer: ProtectedLayer) -> None:
        self.layer = layer
        self._exact = Exact(layer)
        self._plans: dict[Any, Plan | None] = {}
        self._layouts: dict[Any, bool | None] = {}

    @staticmethod
    def takes(layer: ProtectedLayer, x: Tensor) -> bool:
        """Whether ``x`` is float32 on the CPU, and the core is there; what it cannot take goes to Exact."""
        return x.dtype is torch.float32 and x.is_cpu and native.load() is not None

    def before(self, x: Tensor) -> Summed | Noted:
        """Sum the input ``x``."""
        coarse = torch.get_float32_matmul_precision() != "highest"
        key = x.shape, x.stride(), coarse
        try:
            plan = self._plans[key]
        except KeyError:
            plan = self._plans[key] = self._plan(x, _COMPUTED_IN[coarse])
        if plan is None:
            return self._exact.before(x)
        values = x if plan.in_place else self.layer.arrange(x.detach())[0]
        memory = _MEMORY.take(plan.size)
        _core().before_layer(
            plan.native, values.data_ptr(), plan.weight, self.layer.factor, memory.data_ptr()
        )
        return Noted(plan, memory)

    def after(self, x: Tensor, out: Tensor, summed: Any) -> Found:
        """Compare the output ``out`` for ``x`` with what was summed."""
        if not isinstance(summed, Noted):
            return self._exact.after(x, out, summed)
        plan = summed.plan
        key = out.shape, out.stride(), out.dtype
        try:
            last = self._layouts[key]
        except KeyError:
            last = self._layouts[key] = self._layout(out, plan)
        if last is None:
            return self._exact.after(x, out, summed)
        read = x if plan.in_place or not self.layer.verified else self.layer.arrange(x.detach())[0]
        violations, nonfinite, deviation, first, threshold, intact = _core().after_layer(
            plan.native, read.data_ptr(), out.data_ptr(), last, summed.memory.data_ptr()
        )
        return Found(Verdict(violations, nonfinite, deviation, first), threshold, intact)

    def done(self, summed: Summed | Noted) -> None:
        """``summed`` is not needed any more."""
        if isinstance(summed, Noted):
            _MEMORY.give(summed.memory)

    def _plan(self, x: Tensor, unit: torch.dtype) -> Plan | None:
        try:
            return Plan(self.layer, x, unit)
        except ValueError:
            return None

    def _layout(self, out: Tensor, plan: Plan) -> bool | None:
        """Whether channels are last in outputs like ``out``; None where the core does not take them."""
        if out.dtype is not torch.float32 or not out.is_cpu:
            return None
        values, last = self.layer.arrange(out.detach())
        fits = values.numel() == plan.n * plan.outputs * plan.positions and len(values) == plan.n
        return last if fits and values.data_ptr() == out.data_ptr() else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}, "_layouts": {}}


def _core() -> native.Kernels:
    kernels = native.load()
    assert kernels is not None  # takes() saw it
    return kernels


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
