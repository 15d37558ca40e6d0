"""Checks of Conv and ConvTranspose in float32, from standard operators that ONNX Runtime runs fast.

ONNX Runtime has no float64 convolution on the CPU, so the check runs in float32 (``scale`` accounts for it).
A convolution with the single kernel Cw1 would waste 15 of 16 lanes and the reduction Σ_m O would undo the
blocked layout; hence

    Co5 = Σ_t shift_t( Σ_c Cw1[c, t] D[c] )     a 1×1 convolution to one channel for each kernel entry t, then
                                                the layer's own geometry with kernels of a single 1
    S5  = Σ_m O[m]                              a 1×1 convolution with ones, first in 16 blocks if M is large
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from holdfast.abft.onnx.builder import Builder
from holdfast.abft.onnx.constants import Known
from holdfast.abft.onnx.layer import Layer, Unprotected, fixed_counts, weightings
from holdfast.abft.onnx.scale import Scale, scale

_LANES = 16
_MANY = 64


@dataclass
class Convolution(Layer):
    """A Conv or ConvTranspose with constant weights.

    ``kernels`` (M, C/groups, *size) and ``bias`` (M,) as they were; ``positive``: D is never negative.
    """

    axis: int = 1
    kernels: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    bias: NDArray[np.float32] | None = None
    groups: int = 1
    positive: bool = False
    norms: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Any, name: str, known: Known, norms: dict[str, str]) -> Convolution:
        """The layer of ``node``. Raises Unprotected. ``norms`` is shared by the layers of a graph."""
        weight = known.value(node.input[1])
        if weight is None:
            raise Unprotected("its weights are computed")
        if weight.dtype != np.float32:
            raise Unprotected(f"its weights are {weight.dtype}, not float32")
        bias = known.value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if bias is None and len(node.input) > 2 and node.input[2]:
            raise Unprotected("its bias is computed")
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        groups = attributes.get("group", 1)
        kernels = weight
        if node.op_type == "ConvTranspose":
            inputs, outputs, *size = weight.shape
            split = weight.reshape(groups, inputs // groups, outputs, *size).swapaxes(1, 2)
            kernels = split.reshape(groups * outputs, inputs // groups, *size)
        positive = known.never_negative(node.input[0])
        return cls(node, name, kernels=kernels, bias=bias, groups=groups, positive=positive, norms=norms)

    @property
    def blocks(self) -> int:
        """In how many blocks the outputs are summed."""
        return _LANES if len(self.kernels) >= _MANY else 1

    def checksums(self, factors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Σ_m c_m W_m (J, C, *size), the groups concatenated, and Σ_m c_m b_m (J,), of ``factors`` (J, M)."""
        m, per_group, *size = self.kernels.shape
        grouped = self.kernels.reshape(self.groups, m // self.groups, -1)
        weights = factors.reshape(len(factors), self.groups, -1)
        sums = np.einsum("jgm,gmk->jgk", weights, grouped, dtype=np.float64)
        bias = np.zeros(m) if self.bias is None else self.bias.astype(np.float64)
        return sums.reshape(len(factors), self.groups * per_group, *size), factors @ bias

    def delta(self, g: Builder, out: str) -> str:
        """S5 − Co5. The stored checksums are negative, so that no two layers or checks look alike."""
        cw1, bias = self.checksums(-np.ones((1, len(self.kernels))))
        channels, size = cw1.shape[1], cw1.shape[2:]
        taps = prod(size)
        d, dims = self.node.input[0], len(size)
        offset = g.constant(bias.astype(np.float32), "bias_sum")
        if 1 < taps <= channels and self.node.op_type == "Conv":
            entries = cw1.reshape(channels, taps).T.reshape(taps, channels, *[1] * dims)
            projected = g.op("Conv", d, g.constant(entries.astype(np.float32), "Cw1"))
            single = np.eye(taps, dtype=np.float32).reshape(1, taps, *size)
            expected = g.op("Conv", projected, g.constant(single), offset, **self._geometry())
        else:
            expected = self._product(g, cw1, offset)
        return g.cast(g.op("Add", expected, self._sum(g, out, dims)), TensorProto.DOUBLE)

    def _sum(self, g: Builder, out: str, dims: int) -> str:
        """S5 (N, 1, *size), float32."""
        m, blocks = len(self.kernels), self.blocks
        if blocks > 1:
            member = np.arange(m) // -(-m // blocks) == np.arange(blocks)[:, None]
            out = g.op("Conv", out, g.constant(member.astype(np.float32).reshape(blocks, m, *[1] * dims)))
            m = blocks
        return g.op("Conv", out, g.constant(np.ones((1, m, *[1] * dims), np.float32)))

    def _geometry(self) -> dict[str, Any]:
        """The node's attributes without its groups."""
        attributes = {item.name: helper.get_attribute_value(item) for item in self.node.attribute}
        return {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in attributes.items()
            if name != "group"
        }

    def _product(self, g: Builder, sums: NDArray[np.float64], offset: str) -> str:
        """D ⊗ ``sums`` (J, C, *size) plus ``offset`` (J,)."""
        if self.node.op_type == "ConvTranspose":
            sums = sums.swapaxes(0, 1)
        stored = g.constant(sums.astype(np.float32), "Cw1" if sums.shape[0] == 1 else "Cw")
        return g.op(self.node.op_type, self.node.input[0], stored, offset, **self._geometry())

    @property
    def scale(self) -> Scale:
        """τ of a patch by its norm."""
        return scale(self.kernels, self.bias, self.groups, self.blocks)

    def tau(self, g: Builder) -> str:
        """a ‖d‖ + b of each image, where √(T Σ_c max_p D[c, p]²) bounds ‖d‖ of all patches of T pixels."""
        taps = prod(self.kernels.shape[2:])
        found = self.scale
        d = self.node.input[0]
        if d not in self.norms:
            largest = g.op("GlobalMaxPool", d if self.positive else g.op("Abs", d))
            wide = g.cast(largest, TensorProto.DOUBLE)
            self.norms[d] = g.reduce("ReduceL2", wide, range(1, self.kernels.ndim))
        slope = g.constant(found.a * sqrt(taps))
        return g.op("Add", g.op("Mul", self.norms[d], slope), g.constant(found.b))

    def sums(self, g: Builder) -> list[str]:
        """Co5, Co6 and the irregular sum, one convolution with three kernels."""
        kernels, bias = self.checksums(weightings(len(self.kernels)))
        product = self._product(g, kernels, g.constant(bias.astype(np.float32)))
        wide = g.cast(product, TensorProto.DOUBLE)
        return [g.op("Gather", wide, g.constant(np.array([j], np.int64)), axis=1) for j in range(3)]

    def counts(self, g: Builder) -> tuple[str, str, str]:
        """m, irregular, M."""
        m, _, *size = self.kernels.shape
        return fixed_counts(g, m, (1, m, *[1] * len(size)))
