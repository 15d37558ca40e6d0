"""A protected model for torch.export: pure tensor operations, no ladder, deviations as a second output."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.threshold import ROUNDOFF, SIGMAS

if TYPE_CHECKING:
    from holdfast.abft.protect import Protected


class _Found:
    """The deviations of one call, in order; an object, because tracing loses lists that modules share."""

    def __init__(self) -> None:
        self.values: tuple[Tensor, ...] = ()


class _CheckedLayer(nn.Module):
    """One layer and its CoC-D check, traceable: notes the largest deviation over threshold."""

    cw1: Tensor

    def __init__(self, layer: ProtectedLayer, found: _Found) -> None:
        super().__init__()
        self.layer = layer.fault_site
        self._found = found
        self._twin = (layer,)
        self.register_buffer("cw1", layer.product.cw1.clone())

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        twin = self._twin[0]
        out: Tensor = self.layer(x)
        d, o = twin.canonical(x).to(torch.float64), twin.canonical(out).to(torch.float64)
        total = d.sum(0)
        expected = twin.expected.traceable(total, self.cw1)
        deviation = (o.sum((0, 1)).reshape(-1) - expected - d.shape[0] * twin.bias_sum).abs()
        # +Inf for what is not finite: of a NaN max() and comparisons make what they like.
        ratio = deviation / _threshold(twin, d, total, out.dtype)
        largest = torch.where(ratio.isfinite(), ratio, float("inf")).max()
        self._found.values = (*self._found.values, largest.to(torch.float32))
        return out


def _threshold(twin: ProtectedLayer, d: Tensor, total: Tensor, dtype: torch.dtype) -> Tensor:
    """``threshold.analytic`` in tensor operations."""
    scale, n = twin.scale, d.shape[0]
    k, m, unit, tiny = scale.products, scale.outputs, ROUNDOFF[dtype], torch.finfo(dtype).tiny
    largest = d.abs().max() ** 2
    apart, together = k * n * largest, k * total.abs().max() ** 2
    if scale.inside:
        apart = torch.minimum(apart, d.square().sum())
        together = torch.minimum(together, total.square().sum())
    ratio = ROUNDOFF[torch.float64] / unit
    checking = (1 + ratio * ratio * (n * m / k + n + m)) ** 0.5
    random = SIGMAS * unit / 3**0.5 * checking * ((apart + together).sqrt() * scale.kernels + n * scale.bias)
    double = ROUNDOFF[torch.float64]
    one_sided = k**0.5 * scale.one_sided * (n * apart).sqrt()
    steady = (unit + double) * (2 / 3) * k * one_sided
    steady = steady + double * (n + m) * (one_sided + n * (m / k) ** 0.5 * scale.bias)
    tau: Tensor = twin.factor * (random + steady + n * m * k * tiny)
    return tau


class Checked(nn.Module):
    """``forward`` returns (the model's output, deviation (L,) float32): a value a layer, in calling order.

    Anything but ≤ 1 means a fault; +Inf where an output is not finite. Nothing is corrected. Works under
    ``torch.export`` and ``torch.compile``; a layer that is called twice counts twice.
    """

    def __init__(self, model: Protected) -> None:
        super().__init__()
        self._found = _Found()
        twin = copy.deepcopy(model.fault_site)
        replaced = {
            module: _CheckedLayer(module, self._found)
            for module in twin.modules()
            if isinstance(module, ProtectedLayer)
        }
        for module in list(twin.modules()):
            for name, child in module._modules.items():
                if child in replaced and module not in replaced:
                    module._modules[name] = replaced[child]
        self.model = replaced.get(twin, twin)  # type: ignore[call-overload]
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """The model's output and the deviations."""
        self._found.values = ()
        out = self.model(*args, **kwargs)
        values, self._found.values = self._found.values, ()
        return out, torch.stack(values)
