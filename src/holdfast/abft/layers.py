"""Protected layers: the original layer, the checksums of its pristine weights, and the check around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.abft.checksum import bias_sum
from holdfast.abft.compiled import Compiled
from holdfast.abft.detection import Detection, Exact, Found, Portable
from holdfast.abft.events import Guard
from holdfast.abft.expected import ExpectedSums
from holdfast.abft.ladder import recover
from holdfast.abft.layer_call import LayerCall
from holdfast.abft.product import Product, Window, index_of
from holdfast.abft.threshold import weight_scales
from holdfast.abft.transparent import Transparent
from holdfast.abft.weights import Keeper
from holdfast.core.protocols import effective_weight
from holdfast.kernels import Verdict, check_sums

_FORMS = 256
"""Shapes and layouts of inputs whose checks a layer keeps prepared."""


class ProtectedLayer(Transparent, ABC):
    """A layer whose output is checked by CoC-D at every call, and corrected by the ladder.

    Checksums of the input are taken before the layer runs, its hooks run inside, and the output is compared
    last; so whatever happens in between is seen. Gradients flow as through the layer itself: the check works
    on detached values. Raises FaultError (see ``protect``).
    """

    factor = 1.0
    """Calibrated threshold over analytic threshold."""
    verified = False
    """Whether the input is compared with Cd1 after the layer has read it."""

    def __init__(self, layer: nn.Module, name: str, guard: Guard) -> None:
        super().__init__(layer)
        self.name = name
        self.guard = guard
        self.keeper: Keeper | None = None
        self.refresh()

    @abstractmethod
    def window(self) -> Window:
        """How the kernel moves."""

    def weight(self) -> Tensor:
        """The weights in memory as (M, C/groups, *kernel)."""
        weight: Tensor = effective_weight(self.fault_site)
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The bias (M,) in memory."""
        bias: Tensor | None = self.fault_site.bias  # type: ignore[assignment]
        return bias

    @property
    def groups(self) -> int:
        """Number of groups of input channels that do not see each other."""
        return 1

    def refresh(self) -> None:
        """Take the weights as they are now for the pristine ones."""
        window, weight, bias = self.window(), self.weight(), self.bias
        self.product = Product.of(self.weight, window, self.groups)
        self.expected = ExpectedSums(self.product.cw1, window)
        inside = window.mode == "zeros"
        self.bias_sum = bias_sum(bias)
        self._detections: dict[Any, Detection] = {}
        """By shape, strides, dtype and device of the input."""
        cw1, cw2 = self.product.cw1, self.product.cw2
        self.scale, self.scale_by_m = weight_scales(weight, bias, cw1, cw2, self.groups, inside)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        # Called by to(), double(), ...: the weights change their dtype or device.
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.refresh()
        return self

    @abstractmethod
    def arrange(self, x: Tensor) -> tuple[Tensor, bool]:
        """``x`` as (N, C, ...) or (N, ..., C), contiguous, a view if possible; whether channels are last."""

    @abstractmethod
    def canonical(self, x: Tensor) -> Tensor:
        """A view of ``x``, input or output of the layer, as (N, C, *space)."""

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, checked."""
        if torch.compiler.is_compiling():
            out: Tensor = _uncompiled(self, x)
            return out
        return self.checked(x)

    def checked(self, x: Tensor) -> Tensor:
        """The layer's output, checked, in plain Python."""
        guard, layer = self.guard, self._modules["fault_site"]
        assert layer is not None
        key = x.shape, x.stride(), x.dtype, x.device
        detection = self._detections.get(key)
        if detection is None:
            if x.numel() == 0:
                return layer(x)  # type: ignore[no-any-return]
            detection = self._detections[key] = self._detection(x)
        if guard.tap is not None:  # it sees every checksum
            detection = Exact(self)
        summed = detection.before(x)
        out: Tensor = layer(x)
        found = detection.after(x, out, summed)
        if guard.watch is not None:
            guard.watch(self.name, found.verdict.deviation, found.threshold)
        if guard.capture is not None:
            guard.capture(self, x, out)
        if not found.clean:
            out = self._fault(x, out, summed, found, detection)
        detection.done(summed)
        return out

    def _detection(self, x: Tensor) -> Detection:
        """How inputs like ``x`` are checked."""
        if len(self._detections) >= _FORMS:
            self._detections.clear()
        return Compiled.of(self, x) or (Portable if Portable.takes(self, x) else Exact)(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_detections": {}}

    def check(self, out: Tensor, expected: Tensor, n: int, threshold: float) -> Verdict:
        """Compare the sums of ``out`` with ``expected`` (P,) and the bias of ``n`` images."""
        values, channels_last = self.arrange(out.detach())
        return check_sums(values, expected, n * self.bias_sum, threshold, channels_last)

    def repair_weights(self) -> str:
        """Reload weights, or renew checksums of weights, that are not as they were; what was done, or ""."""
        keeper = self.keeper
        if keeper is None:
            return ""
        reloaded = any(fault.repaired for fault in keeper.repair(self.name))
        as_made = self.product.as_made() and self.expected.intact(self.product.cw1)
        renewed = not as_made and not keeper.damaged(self.name)
        if renewed:
            self.refresh()
        return "weights reloaded" if reloaded else "checksums renewed" if renewed else ""

    def _fault(self, x: Tensor, out: Tensor, summed: Any, found: Found, by: Detection) -> Tensor:
        again = None if summed.form is None else by.before
        call = LayerCall(self, x, out, summed.cd1, summed.co5, summed.stats, found.threshold, again)
        verdict, size = found.verdict, self.canonical(out).shape[2:]
        location = index_of(verdict.first, size) if verdict.first >= 0 and size else None
        recover(call, self.guard, location=location, deviation=verdict.deviation)
        return call.out


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _uncompiled(layer: ProtectedLayer, x: Tensor) -> Tensor:
    out: Tensor = layer.checked(x)
    return out


class ProtectedConv(ProtectedLayer):
    """Conv1d, Conv2d, Conv3d and their transposed kinds, with any stride, padding, dilation and groups."""

    fault_site: nn.modules.conv._ConvNd

    @property
    def groups(self) -> int:
        """Number of groups of input channels that do not see each other."""
        return self.fault_site.groups

    def weight(self) -> Tensor:
        """The weights in memory as (M, C/groups, *kernel)."""
        weight: Tensor = effective_weight(self.fault_site)
        if not self.fault_site.transposed:
            return weight
        channels, per_group, *kernel = weight.shape
        grouped = weight.reshape(self.groups, channels // self.groups, per_group, *kernel)
        return grouped.transpose(1, 2).reshape(self.groups * per_group, channels // self.groups, *kernel)

    def window(self) -> Window:
        """How the kernel moves."""
        layer = self.fault_site
        kernel = tuple(layer.kernel_size)
        if layer.transposed:
            padding = tuple((int(p), int(p)) for p in layer.padding)
        else:
            flat = layer._reversed_padding_repeated_twice
            padding = tuple((flat[i], flat[i + 1]) for i in range(2 * len(kernel) - 2, -1, -2))
        return Window(
            kernel,
            tuple(layer.stride),
            tuple(layer.dilation),
            padding,
            layer.padding_mode,
            layer.transposed,
            tuple(layer.output_padding),
        )

    def arrange(self, x: Tensor) -> tuple[Tensor, bool]:
        """``x`` as (N, C, ...) or (N, ..., C), contiguous, a view if possible; whether channels are last."""
        x = self.canonical(x)
        if x.is_contiguous():
            return x, False
        last = x.movedim(1, -1)
        return (last, True) if last.is_contiguous() else (x.contiguous(), False)

    def canonical(self, x: Tensor) -> Tensor:
        """A view of ``x``, input or output of the layer, as (N, C, *space)."""
        return x if x.dim() == len(self.fault_site.kernel_size) + 2 else x[None]


class ProtectedLinear(ProtectedLayer):
    """Linear on input (N, ..., K): the first dimension is summed, each index in between has its checksum.

    Its input is verified after the product: the kernels of a trained classifier add up to nearly zero, so
    that Co5 would hardly see a damaged one. K·N numbers are compared, against K·N·M products.
    """

    verified = True
    fault_site: nn.Linear

    def window(self) -> Window:
        """A matrix product."""
        return Window()

    def arrange(self, x: Tensor) -> tuple[Tensor, bool]:
        """``x`` as (N, ..., K), contiguous."""
        x = x[None] if x.dim() == 1 else x
        return x.contiguous(), True

    def canonical(self, x: Tensor) -> Tensor:
        """A view of ``x``, input or output of the layer, as (N, K, ...)."""
        return (x[None] if x.dim() == 1 else x).movedim(-1, 1)
