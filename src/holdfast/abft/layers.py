"""Protected layers: the original layer, the checksums of its pristine weights, and the check around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast.abft.checksum import bias_sum, kernel_sum
from holdfast.abft.events import Action, Event, Guard, Kind
from holdfast.abft.threshold import analytic, weight_scale
from holdfast.abft.transparent import Transparent
from holdfast.core.errors import FaultError
from holdfast.core.protocols import effective_weight
from holdfast.kernels import BatchStats, ChecksumConvolution, Verdict, Window, batch_sum, check_sums


class ProtectedLayer(Transparent, ABC):
    """A layer whose output is checked by CoC-D at every call.

    Checksums of the input are taken before the layer runs, its hooks run inside, and the output is compared
    last; so whatever happens in between is seen. Gradients flow as through the layer itself: the check works
    on detached values. Raises FaultError (see ``protect``).
    """

    scheme: ClassVar[str] = "CoC-D"

    def __init__(self, layer: nn.Module, name: str, guard: Guard) -> None:
        super().__init__(layer)
        self.name = name
        self.guard = guard
        self.refresh()

    @abstractmethod
    def refresh(self) -> None:
        """Take the weights as they are now for the pristine ones."""

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        # Called by to(), double(), ...: the weights change their dtype or device.
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.refresh()
        return self

    @abstractmethod
    def _arrange(self, x: Tensor) -> tuple[Tensor, bool]:
        """``x`` as (N, C, ...) or (N, ..., C), contiguous, a view if possible; whether channels are last."""

    @abstractmethod
    def _expected(self, total: Tensor, channels_last: bool) -> Tensor:
        """Co5 (P,) in float64 of the summed input."""

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, checked."""
        if x.numel() == 0:
            out: Tensor = self.fault_site(x)
            return out
        values, channels_last = self._arrange(x.detach())
        total, stats = batch_sum(values)
        expected = self._expected(total, channels_last)
        out = self.fault_site(x)
        threshold = analytic(self._scale, stats, values.shape[0], _precision(x, out))
        verdict = self._check(out, expected, values.shape[0], threshold)
        if verdict.violations:
            return self._fault(x, out, expected, values.shape[0], stats, threshold, verdict)
        return out

    def _check(self, out: Tensor, expected: Tensor, n: int, threshold: float) -> Verdict:
        values, channels_last = self._arrange(out.detach())
        return check_sums(values, expected, n * self._bias_sum, threshold, channels_last)

    def _fault(
        self,
        x: Tensor,
        out: Tensor,
        expected: Tensor,
        n: int,
        stats: BatchStats,
        threshold: float,
        verdict: Verdict,
    ) -> Tensor:
        """Correct, record or raise what ``verdict`` found in ``out``."""
        kind: Kind = "non-finite" if verdict.nonfinite else "deviation"
        if not stats.finite:
            kind = "non-finite input"

        def record(action: Action, corrected: bool) -> None:
            location = self._location(out, verdict.first)
            event = Event(
                self.name, self.scheme, kind, location, verdict.deviation, threshold, action, corrected
            )
            self.guard.events.append(event)

        if self.guard.on_fault == "record":
            record("recorded", False)
            return out
        remedy = "run again; if it stays, a weight is damaged: reload the model"
        if not stats.finite:
            remedy = "look at what computed the input: the model's own input or a layer before this one"
        elif self.guard.on_fault == "correct":
            # Without hooks, and once: a fault that is still there sits in a weight or in the checksums.
            again: Tensor = type(self.fault_site).forward(self.fault_site, x)
            verdict_again = self._check(again, expected, n, threshold)
            if not verdict_again.violations:
                record("recomputed", True)
                return again
        record("raised", False)
        raise FaultError(
            f"soft error in layer {self.name!r} ({kind})",
            expected=f"a deviation of the checksum of at most {threshold:.3g}",
            got=f"{verdict.deviation:.3g}",
            remedy=remedy,
        )

    @abstractmethod
    def _location(self, out: Tensor, first: int) -> tuple[int, ...] | None:
        """Index of the first position that is off, for the event; ``first`` < 0: unknown."""


class ProtectedConv2d(ProtectedLayer):
    """Conv2d with any stride, padding, padding mode, dilation and groups; input (N, C, H, W) or (C, H, W)."""

    fault_site: nn.Conv2d

    def refresh(self) -> None:
        """Take the weights as they are now for the pristine ones."""
        layer = self.fault_site
        weight = effective_weight(layer)
        padding = tuple(layer._reversed_padding_repeated_twice)
        zeros = layer.padding_mode == "zeros"
        window = Window(
            (layer.stride[0], layer.stride[1]),
            (layer.dilation[0], layer.dilation[1]),
            (padding[0], padding[1], padding[2], padding[3]) if zeros else (0, 0, 0, 0),
        )
        self._padding = None if zeros else (padding, layer.padding_mode)
        self._checksum = ChecksumConvolution(kernel_sum(weight, layer.groups), window)
        self._bias_sum = bias_sum(layer.bias)
        self._scale = weight_scale(weight, layer.bias, layer.groups, inside=zeros)

    def _arrange(self, x: Tensor) -> tuple[Tensor, bool]:
        if x.dim() == 3:
            x = x[None]
        if x.is_contiguous():
            return x, False
        if x.is_contiguous(memory_format=torch.channels_last):
            return x.permute(0, 2, 3, 1), True
        return x.contiguous(), False

    def _expected(self, total: Tensor, channels_last: bool) -> Tensor:
        if self._padding is not None:
            padding, mode = self._padding
            planar = total.permute(2, 0, 1) if channels_last else total
            total = functional.pad(planar[None], padding, mode)[0].contiguous()
            channels_last = False
        return self._checksum(total, channels_last)

    def _location(self, out: Tensor, first: int) -> tuple[int, ...] | None:
        return None if first < 0 else divmod(first, out.shape[-1])


class ProtectedLinear(ProtectedLayer):
    """Linear on input (N, ..., K): the first dimension is summed, each index in between has its checksum."""

    fault_site: nn.Linear

    def refresh(self) -> None:
        """Take the weights as they are now for the pristine ones."""
        layer = self.fault_site
        weight = effective_weight(layer)
        self._checksum = ChecksumConvolution(kernel_sum(weight)[:, None, None], Window())
        self._bias_sum = bias_sum(layer.bias)
        self._scale = weight_scale(weight, layer.bias)

    def _arrange(self, x: Tensor) -> tuple[Tensor, bool]:
        x = x[None] if x.dim() == 1 else x
        return x.reshape(x.shape[0], 1, -1, x.shape[-1]).contiguous(), True

    def _expected(self, total: Tensor, channels_last: bool) -> Tensor:
        return self._checksum(total, channels_last)

    def _location(self, out: Tensor, first: int) -> tuple[int, ...] | None:
        between = out.shape[1:-1]
        location: list[int] = []
        for size in reversed(between):
            first, index = divmod(first, size)
            location.insert(0, index)
        return tuple(location) if location else None


def _precision(x: Tensor, out: Tensor) -> torch.dtype:
    """The coarsest dtype that the layer computed in."""
    coarse = out.dtype if torch.finfo(out.dtype).eps >= torch.finfo(x.dtype).eps else x.dtype
    if coarse is torch.float32 and torch.get_float32_matmul_precision() != "highest":
        return torch.bfloat16
    return coarse
