"""One chain as one step: a packed product, then the native pass that checks and finishes it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

from holdfast.abft.checksum import bias_sum, kernel_sum
from holdfast.abft.events import Guard
from holdfast.abft.expected import ExpectedSums
from holdfast.abft.fused.call import FusedCall
from holdfast.abft.fused.packed import Packed
from holdfast.abft.fused.state import WeightState, hooks
from holdfast.abft.fused.workspace import Buffer, Workspace
from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.product import Product
from holdfast.abft.threshold import SIGMAS, WeightScale, weight_scales
from holdfast.kernels import Window as FlatWindow
from holdfast.kernels.native import Kernels
from holdfast.models.chains import Chain
from holdfast.models.fold import folded, norm_scale

_FORMAT = torch.channels_last
_UNIT, _TINY = torch.finfo(torch.float32).eps / 2, torch.finfo(torch.float32).tiny
_CHECKING_UNIT = 2.0**-53


Plan = tuple[Any, int, tuple[int, int]]


class FusedLayer:
    """What computes in place of a chain.

    Its checksums are those of the folded weights, in the notation of ``abft.checksum``; blocks are (N, M, P).
    Feature maps are float32 with channels last in memory.
    """

    def __init__(self, chain: Chain, guard: Guard, kernels: Kernels) -> None:
        self.chain, self.guard, self.kernels = chain, guard, kernels
        self.protected: ProtectedLayer = chain.layer
        self.name = self.protected.name
        self.linear = not self.protected.window().size
        self._hooks = hooks(chain.modules)
        self.state = WeightState(chain.modules)
        weight, bias = self.source()
        window = self.protected.window()
        self.groups = self.protected.groups
        self.cw1 = kernel_sum(weight, self.groups)
        self.cw2 = kernel_sum(weight, self.groups, weighted=True)
        self.bias_sum = bias_sum(bias)
        self.scale, self.scale_by_m = weight_scales(weight, bias, self.cw1, self.cw2, self.groups)
        self.struck: frozenset[int] = frozenset()
        """The channels that the last fault was corrected in."""
        self.outputs = weight.shape[0]
        self.packed = Packed(self.source, window, self.groups)
        self.window = window
        (top, _), (left, _) = window.padding or ((0, 0), (0, 0))
        self._flat = FlatWindow(
            window.stride or (1, 1),
            window.dilation or (1, 1),
            (left, left, top, top),
        )
        self._plans: dict[torch.Size, Plan] = {}
        self._weights: dict[torch.Size, Any] = {}
        layer = chain.layer.fault_site
        self._arguments = (
            ()
            if self.linear
            else ([p for p, _ in window.padding], list(window.stride), list(window.dilation), layer.groups)
        )

    def as_built(self) -> bool:
        """Whether the modules have no hooks and the weights that they had when this was built."""
        return not any(self._hooks) and self.state.as_built()

    def source(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as the modules have them, the norm folded in."""
        return folded(self.protected.fault_site, self.chain.norm)

    def product(self, weight: Callable[[], Tensor]) -> Product:
        """The product with ``weight()`` and the checksums of the pristine weights."""
        return Product(weight, self.cw1, self.cw2, self.window, self.groups)

    def near(self, d: Tensor, positions: Tensor) -> Tensor:
        """The product of ``d`` (K, C, *space) at ``positions`` (V,) by the modules' weights, free of bias.

        (K, M, V) float64, as exact as the layer itself.
        """
        found = self.protected.product.near(d, positions).to(torch.float64)
        norm = self.chain.norm
        return found if norm is None else found * norm_scale(norm)[:, None]

    def at(self, x: Tensor, position: int) -> Tensor | None:
        """The product (N, M) of ``x`` with its bias at one ``position``, by the modules' weights.

        As exact as the layer itself; None for kinds of layers that have no short way to it.
        """
        if self.linear or self.groups > 1 or self.window.dilation != (1, 1):
            return None
        height, width = x.shape[2:]
        y, z = divmod(position, self.window.output_size((height, width))[1])
        (high, wide), (down, right) = self.window.size, self.window.stride
        top, left = y * down - self.window.padding[0][0], z * right - self.window.padding[1][0]
        a, b, c, d = max(top, 0), min(top + high, height), max(left, 0), min(left + wide, width)
        weight = self.protected.weight().detach()[:, :, a - top : b - top, c - left : d - left]
        patches = x[:, :, a:b, c:d].permute(0, 2, 3, 1).flatten(1)
        out = patches @ weight.permute(0, 2, 3, 1).flatten(1).t()
        if self.chain.norm is not None:
            out = out * norm_scale(self.chain.norm).to(out.dtype)
        return out if self.packed.bias is None else out + self.packed.bias

    def canonical(self, x: Tensor) -> Tensor:
        """A view of ``x``, input or output of the layer, as (N, C, *space)."""
        return x.movedim(-1, 1) if self.linear else x

    def co5(self, cd1: Tensor) -> Tensor:
        """Co5 (P,) of Cd1 (C, *space)."""
        return ExpectedSums(self.cw1, self.window)(cd1.contiguous(), False)

    # ---- computing -----------------------------------------------------------------------------------------

    def multiply(self, x: Tensor) -> Tensor:
        """The product of ``x`` with its bias."""
        weight = self._weights.get(x.shape)
        if weight is None:
            weight = self._weights[x.shape] = self.packed.ready(tuple(x.shape))
        out: Tensor
        if self.linear:
            out = torch.ops.mkldnn._linear_pointwise.default(x, weight, self.packed.bias, "none", [], "")
        else:
            out = torch.ops.mkldnn._convolution_pointwise.default(
                x, weight, self.packed.bias, *self._arguments, "none", [], ""
            )
        return out

    def arranged(self, x: Tensor) -> Tensor:
        """``x`` in the layout that the native pass reads; itself if possible."""
        if self.linear or x.dim() != 4:
            return x if x.is_contiguous() else x.contiguous()
        return x if x.is_contiguous(memory_format=_FORMAT) else x.contiguous(memory_format=_FORMAT)

    def plan(self, x: Tensor) -> Plan:
        """The native plan for inputs like ``x``, the number of output positions, the size of the map."""
        n = x.shape[0]
        if self.linear:
            shape = (n, x.shape[-1], 1, prod(x.shape[1:-1]))
            weight = self.cw1[:, None, None]
        else:
            shape, weight = tuple(x.shape), self.cw1  # type: ignore[assignment]
        kind, parameter = self.chain.activation
        plan = self.kernels.layer_plan(
            shape,
            weight,
            self._flat,
            self.outputs,
            bias_sum=self.bias_sum,
            activation=kind,
            parameter=parameter,
            threshold=constants(self.scale, n, self.protected.factor),
            inside=self.scale.inside,
            pool=self.chain.windows,
        )
        self._plans[x.shape] = plan
        return plan

    def run(
        self,
        x: Tensor,
        residual: Tensor | None,
        source: Buffer,
        beside: Buffer | None,
        result: Buffer | None,
        workspace: Workspace,
    ) -> Tensor:
        """The chain's output for ``x`` and ``residual``, both arranged, float32 and not empty.

        ``source`` and ``beside`` are the carries of x and of the residual, ``result`` takes the output's.
        """
        plan = self._plans.get(x.shape) or self.plan(x)
        out = self.multiply(x)
        pooled = self._pooled(out, plan[2])
        # A classifier's kernels add up to nothing, so that damage of its input may cancel in Co5.
        read = x if self.linear else None
        found = self.finish(plan, out, pooled, residual, source, beside, result, workspace, read)
        if found:
            call = FusedCall(self, plan, x, residual, out, pooled, source, beside, result, workspace)
            out = call.handle(found)
        return out if pooled is None else pooled

    def finish(
        self,
        plan: Plan,
        out: Tensor,
        pooled: Tensor | None,
        residual: Tensor | None,
        source: Buffer,
        beside: Buffer | None,
        result: Buffer | None,
        workspace: Workspace,
        read: Tensor | None = None,
    ) -> int:
        """Check the product ``out`` and finish it in place; what the native pass returns (``FusedCall``).

        ``read``: the input of a Linear, to be compared with its carried sum.
        """
        native, positions, size = plan
        length = positions if pooled is None else size[0] * size[1]
        found: int = self.kernels.finish_layer(
            native,
            out.data_ptr(),
            0 if pooled is None else pooled.data_ptr(),
            0 if residual is None else residual.data_ptr(),
            source.at,
            0 if beside is None else beside.at,
            0 if result is None else result.reserve(length * self.outputs),
            workspace.check.reserve(positions),
            workspace.violated.reserve(positions),
            0 if read is None else read.data_ptr(),
        )
        return found

    def _pooled(self, out: Tensor, size: tuple[int, int]) -> Tensor | None:
        if self.chain.pool is None:
            return None
        return torch.empty((len(out), self.outputs, *size), memory_format=_FORMAT)

    def unchecked(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """The same without any check: what protection is measured against."""
        plan, _, size = self._plans.get(x.shape) or self.plan(x)
        out = self.multiply(x)
        pooled = self._pooled(out, size)
        at = 0 if residual is None else residual.data_ptr()
        into = 0 if pooled is None else pooled.data_ptr()
        self.kernels.finish_layer(plan, out.data_ptr(), into, at, 0, 0, 0, 0, 0)
        return out if pooled is None else pooled

    # ---- weights -------------------------------------------------------------------------------------------

    def packed_weight(self) -> Tensor:
        """The weights that compute, (M, C/groups, *kernel): a copy in the ordinary layout."""
        return self.packed.dense()

    def damage_packed_weight(self, index: tuple[int, ...], bits: int) -> None:
        """Give element ``index`` of the weights that compute the float32 with the pattern ``bits``."""
        self.packed.damage(index, bits)
        self._weights = {}

    # ``core.protocols.WeightStore``, for fault campaigns

    def read(self) -> Tensor:
        """A copy of the weights that compute."""
        return self.packed.dense()

    def write(self, weight: Tensor) -> None:
        """Compute with ``weight`` from now on, as if memory had changed."""
        self.packed.strike(weight)
        self._weights.clear()

    def restore(self) -> None:
        """Undo all writes."""
        self.drop_packed()

    def drop_packed(self) -> None:
        """Forget the packed copies; the next call makes them again."""
        self.packed.drop()
        self._weights = {}

    def repair_weights(self) -> str:
        """Reload weights, or renew checksums of weights, that are not as they were; what was done, or ""."""
        done = self.protected.repair_weights()
        keeper = self.protected.keeper
        if keeper is not None and self.chain.norm is not None and keeper.repair(self.chain.norm_name):
            done = "weights reloaded"
        if not self.packed.intact():
            done = "weights reloaded"
        self.drop_packed()
        cw1 = kernel_sum(self.source()[0], self.groups)
        if not torch.equal(self.cw1, cw1):
            self.cw1.copy_(cw1)
            done = done or "checksums renewed"
        self._plans.clear()  # they hold a copy of Cw1
        return done


def constants(scale: WeightScale, n: int, factor: float) -> tuple[float, ...]:
    """What ``threshold.analytic`` multiplies and adds for batches of ``n``, worked out for the native pass.

    ``factor``: calibrated over analytic threshold.
    """
    k, m = scale.products, scale.outputs
    ratio = _CHECKING_UNIT / _UNIT
    checking = sqrt(1 + ratio * ratio * (n * m / k + n + m))
    return (
        float(k * n),
        float(k),
        factor * SIGMAS * _UNIT / sqrt(3) * checking,
        scale.kernels,
        n * scale.bias,
        factor * _UNIT * (2 / 3) * k * sqrt(k) * scale.one_sided * sqrt(n),
        factor * n * m * k * _TINY,
    )
