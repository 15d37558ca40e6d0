"""A small layer on the test stand: its output blocks, its seven checksums, its thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft.checksum import Sums, image_sum
from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.product import Product, every_position
from holdfast.abft.protect import Protected
from holdfast.abft.threshold import Thresholds, rounding_dtype, thresholds
from holdfast.kernels import batch_sum

GEOMETRIES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (lambda: nn.Conv2d(2, 4, 3, padding=1), (3, 2, 4, 4)),
    "conv, stride 2": (lambda: nn.Conv2d(3, 3, 3, stride=2, padding=1), (4, 3, 5, 5)),
    "conv, 2 groups": (lambda: nn.Conv2d(4, 4, 3, groups=2), (3, 4, 5, 5)),
    "linear": (lambda: nn.Linear(6, 4), (5, 6)),
}
"""Layers, small enough to hit every block and position, with the shapes of their inputs."""


@dataclass(frozen=True)
class Checksums:
    """Cd1, Cd2 (C, *space) and Cw1, Cw2 (C, *kernel), float64, from which Co1 … Co7 follow."""

    cd1: Tensor
    cd2: Tensor
    cw1: Tensor
    cw2: Tensor


class Stand:
    """One layer of ``GEOMETRIES`` with random weights and a random input, protected.

    ``blocks`` (N, M, P) float64, free of bias; ``co`` its seven checksums at all P positions; ``tau`` their
    thresholds; ``tolerance``: how far a corrected value may be off.
    """

    def __init__(self, geometry: str, seed: int) -> None:
        torch.manual_seed(seed)
        make, shape = GEOMETRIES[geometry]
        self.layer = make().eval()
        self.x = torch.randn(shape)
        self.protected: Protected = protect(nn.Sequential(self.layer), fuse=False)
        self.wrapper = next(m for m in self.protected.modules() if isinstance(m, ProtectedLayer))
        values, channels_last = self.wrapper.arrange(self.x)
        total, stats = batch_sum(values)
        cd1 = total.movedim(-1, 0) if channels_last else total
        out = self.output(self.x)
        self.d = self.wrapper.canonical(self.x)
        self.tau: Thresholds = thresholds(
            self.wrapper.scale,
            self.wrapper.scale_by_m,
            self.d,
            stats,
            rounding_dtype(self.x, out),
        )
        self.product: Product = self.wrapper.product
        self.positions = every_position(self.product.window, self.d.shape[2:])
        self.checksums = Checksums(
            cd1.clone(), image_sum(self.d, weighted=True), self.product.cw1, self.product.cw2
        )
        self.blocks = self.blocks_of(out)
        self.co = self.sums(self.checksums)
        self.tolerance = 4 * max(float(t.max()) if isinstance(t, Tensor) else t for t in self.tau)

    @property
    def weight(self) -> Tensor:
        """The weights in memory; writing here damages them."""
        weight: Tensor = self.layer.weight.data  # type: ignore[assignment]
        return weight

    def output(self, x: Tensor) -> Tensor:
        """The bare layer's output on ``x``."""
        with torch.no_grad():
            result: Tensor = self.layer(x)
        return result

    def blocks_of(self, out: Tensor) -> Tensor:
        """``out`` as blocks (N, M, P), float64, free of bias."""
        blocks = self.wrapper.canonical(out)
        blocks = blocks.flatten(2) if blocks.dim() > 2 else blocks[:, :, None]
        bias = self.wrapper.bias
        wide = blocks.to(torch.float64)
        return wide if bias is None else wide - bias.detach().to(torch.float64)[:, None]

    def sums(self, known: Checksums, d: Tensor | None = None) -> Sums:
        """Co1 … Co7 at every position from ``known``, the input ``d`` and the weights in memory."""
        d, at, product = self.d if d is None else d, self.positions, self.product
        by_n = product.by_sums(d, at, [known.cw1, known.cw2])
        by_cd1 = product.by_sums(known.cd1[None], at, [known.cw1, known.cw2])[0]
        by_cd2 = product.by_sums(known.cd2[None], at, [known.cw1])[0]
        co1, co3 = product.by_kernels(torch.stack([known.cd1, known.cd2]), at)
        return Sums(co1, by_n[:, 0], co3, by_n[:, 1], by_cd1[0], by_cd1[1], by_cd2[0])

    @contextmanager
    def weight_changed(self, index: int, value: float) -> Iterator[None]:
        """The flat weight number ``index`` is ``value`` in memory while the context is open."""
        flat = self.weight.view(-1)
        before = flat[index].clone()
        flat[index] = value
        try:
            yield
        finally:
            flat[index] = before
