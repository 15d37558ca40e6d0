"""One call of a protected layer, as the ladder sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.abft.freivalds import product_holds
from holdfast.abft.product import Product
from holdfast.abft.threshold import Thresholds, rounding_dtype, thresholds
from holdfast.core.errors import InputDamaged
from holdfast.kernels import BatchStats, batch_sum, block_sums

if TYPE_CHECKING:
    from holdfast.abft.detection import Summed
    from holdfast.abft.layers import ProtectedLayer


class LayerCall:
    """``ladder.Call`` of a layer that ran by itself: ``out`` holds its output, bias and all."""

    whole = True

    def __init__(
        self,
        layer: ProtectedLayer,
        x: Tensor,
        out: Tensor,
        cd1: Tensor,
        co5: Tensor,
        stats: BatchStats,
        threshold: float,
        sum_again: Callable[[Tensor], Summed] | None = None,
    ) -> None:
        """``sum_again``: what made ``cd1`` and ``co5``, where ``cd1`` is no copy of the input in float64."""
        self.layer = layer
        self.name, self.outputs = layer.name, layer.scale.outputs
        self.x, self.out = x, out
        self.d = layer.canonical(x.detach())
        self.cd1, self.stats, self.threshold = cd1, stats, threshold
        self._co5, self._summed_co5 = co5.to(torch.float64).view(-1), co5
        self._sum_again = sum_again
        self._fine = torch.zeros(co5.numel(), dtype=torch.bool)
        self._s5: Tensor | None = None

    @property
    def product(self) -> Product:
        """The layer as a product."""
        return self.layer.product

    @property
    def _bias(self) -> Tensor | None:
        bias = self.layer.bias
        return None if bias is None else bias.detach().to(torch.float64)

    def _blocks(self) -> Tensor:
        """The output as (N, M, P), a view if its layout allows."""
        blocks = self.layer.canonical(self.out.detach())
        return blocks.flatten(2) if blocks.dim() > 2 else blocks[:, :, None]

    def violated(self) -> Tensor:
        """The positions (V,) that are off now, those with NaN or Inf included."""
        if self._s5 is None:
            values, channels_last = self.layer.arrange(self.out.detach())
            self._s5 = block_sums(values, channels_last)
        deviation = (self._s5 - self._co5 - self.d.shape[0] * self.layer.bias_sum).abs()
        return (~(deviation <= self.threshold) & ~self._fine).nonzero()[:, 0]

    def expected(self, positions: Tensor) -> Tensor:
        """Co5 (V,) float64, free of bias, at ``positions``."""
        return self._co5[positions]

    def near_co1(self, positions: Tensor) -> Tensor:
        """Co1 (M, V) at ``positions``, as exact as the layer's own output."""
        return self.product.near(self.cd1[None], positions)[0].to(torch.float64)

    def thresholds(self) -> Thresholds:
        """All thresholds of this call."""
        layer = self.layer
        tau = thresholds(
            layer.scale,
            layer.scale_by_m,
            self.d,
            self.stats,
            rounding_dtype(self.x, self.out),
        )
        # Checks in float32 have a wider threshold; what the rungs compare with their sums needs it as well.
        return tau.times(layer.factor if self._sum_again is None else self.threshold / tau.t5)

    def read(self, positions: Tensor) -> Tensor:
        """Blocks (N, M, V) of the output in float64, free of bias."""
        blocks = self._blocks()[:, :, positions].to(torch.float64)
        return blocks if self._bias is None else blocks - self._bias[:, None]

    def write(self, positions: Tensor, blocks: Tensor, changed: Tensor) -> None:
        """Put the ``changed`` (N, M, V) ones of ``blocks`` into the output."""
        n, m, v = changed.nonzero(as_tuple=True)
        values = blocks[n, m, v] if self._bias is None else blocks[n, m, v] + self._bias[m]
        out = self.layer.canonical(self.out.detach())
        where = torch.unravel_index(positions[v], out.shape[2:]) if out.dim() > 2 else ()
        out[(n, m, *where)] = values.to(out.dtype)
        if self._s5 is not None:
            self._s5[positions] = self._blocks()[:, :, positions].to(torch.float64).sum((0, 1))

    def discard(self, positions: Tensor) -> None:
        """Believe the output at ``positions``: their checksum is damaged."""
        self._fine[positions] = True

    def sum_input(self) -> tuple[Tensor, BatchStats]:
        """Cd1 and the statistics of ``d`` as it is now.

        Raises InputDamaged where ``d`` has changed and there is no Cd1 that could restore it.
        """
        if self._sum_again is not None:
            summed = self._sum_again(self.x)
            if torch.equal(summed.co5, self._summed_co5) and torch.equal(summed.cd1, self.cd1):
                return self.cd1, self.stats
            raise InputDamaged("input", expected="as it was summed", got="changed")
        values, channels_last = self.layer.arrange(self.x.detach())
        total, stats = batch_sum(values)
        return (total.movedim(-1, 0) if channels_last else total), stats

    def expect(self, cd1: Tensor) -> None:
        """Use ``cd1`` and its Co5 from now on."""
        self.cd1 = cd1
        self._co5 = self.layer.expected(cd1.to(torch.float64).contiguous(), False)
        self._fine.zero_()

    def sound(self) -> bool:
        """Whether the whole output is that of ``d`` and the weights, also where errors cancel in S5."""
        return product_holds(self.product, self.d, self._blocks(), self.layer.bias, 2 * self.threshold)

    def repair_weights(self) -> str:
        """Reload weights, or renew checksums of weights, that are not as they were; what was done, or ""."""
        return self.layer.repair_weights()

    def recompute(self) -> None:
        """Run the product again, into the same output, without hooks."""
        self._s5 = None
        self.out = type(self.layer.fault_site).forward(self.layer.fault_site, self.x)
