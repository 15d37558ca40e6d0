"""Exact checks of ConvInteger and MatMulInteger: s32 outputs, before requantisation, against float64 sums.

Sums of 8-bit weights do not fit 8 bits. ConvInteger gets them as digits of base 128, one output channel each:
D ⊗ Cw1 = Σ_q 128^q D ⊗ digit_q, every part exact in s32. MatMulInteger's check multiplies in float64,
which is exact below 2⁵³. Zero points are taken off the weights beforehand, those of the input by the
operator itself.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from holdfast.abft.onnx.builder import Builder
from holdfast.abft.onnx.constants import Known
from holdfast.abft.onnx.layer import Layer, Unprotected, computed_counts, fixed_counts, weightings

_BASE = 128
_EXACT = 0.5  # any difference of whole numbers exceeds it


@dataclass
class Integer(Layer):
    """``kernels`` (M, ...) int64 without zero point, None where computed; ``zero`` the input's zero point."""

    kind: int = TensorProto.INT32
    kernels: NDArray[np.int64] | None = field(default=None)
    exact = True

    def tau(self, g: Builder) -> str:
        """½: every change of an integer counts."""
        return g.constant(_EXACT)

    def delta(self, g: Builder, out: str) -> str:
        """S5 − Co5, exact."""
        total = g.reduce("ReduceSum", g.cast(out, TensorProto.DOUBLE), [self.axis])
        return g.op("Add", total, self._expected(g, -1.0))

    @abstractmethod
    def _expected(self, g: Builder, sign: float) -> str:
        """``sign`` times Co5, exact, float64."""


@dataclass
class ConvInteger(Integer):
    """A ConvInteger with constant weights, stored in ``dtype``, in ``groups``."""

    axis: int = 1
    dtype: Any = np.int8
    groups: int = 1

    @classmethod
    def of(cls, node: Any, name: str, known: Known) -> ConvInteger:
        """The layer of ``node``. Raises Unprotected."""
        weight = known.value(node.input[1])
        if weight is None:
            raise Unprotected("its weights are computed")
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        zero = _zero_point(node, 3, known)
        kernels = weight.astype(np.int64) - zero.reshape(-1, *[1] * (weight.ndim - 1))
        return cls(node, name, kernels=kernels, dtype=weight.dtype, groups=attributes.get("group", 1))

    def _sum(self, factors: NDArray[np.float64]) -> NDArray[np.int64]:
        """Σ_m c_m W_m (C, *size), the groups concatenated."""
        assert self.kernels is not None
        m, per_group, *size = self.kernels.shape
        weighted = self.kernels * factors.astype(np.int64).reshape(-1, *[1] * (self.kernels.ndim - 1))
        grouped = weighted.reshape(self.groups, m // self.groups, per_group, *size)
        return np.asarray(grouped.sum(1).reshape(-1, *size))

    def _expected(self, g: Builder, sign: float) -> str:
        assert self.kernels is not None
        return self._product(g, self._sum(np.full(len(self.kernels), sign)))

    def _product(self, g: Builder, kernel: NDArray[np.int64]) -> str:
        """D ⊗ ``kernel``, (N, 1, *size) float64."""
        digits: list[NDArray[np.int64]] = []
        rest = kernel
        while rest.any() or not digits:
            digit = (rest + _BASE // 2) % _BASE - _BASE // 2
            digits.append(digit)
            rest = (rest - digit) // _BASE
        zero = _BASE // 2 if self.dtype == np.uint8 else 0
        stored = g.constant((np.stack(digits) + zero).astype(self.dtype), "Cw1")
        zero_point = self.node.input[2] if len(self.node.input) > 2 else ""
        attributes = {item.name: helper.get_attribute_value(item) for item in self.node.attribute}
        attributes.pop("group", None)
        own_zero = g.constant(np.array(zero, self.dtype))
        parts = g.op("ConvInteger", self.node.input[0], stored, zero_point, own_zero, **attributes)
        powers = float(_BASE) ** np.arange(len(digits))
        powers = powers.reshape(1, -1, *[1] * (kernel.ndim - 1))
        whole = g.op("Mul", g.cast(parts, TensorProto.DOUBLE), g.constant(powers))
        return g.reduce("ReduceSum", whole, [1])

    def sums(self, g: Builder) -> list[str]:
        """Co5, Co6 and the irregular sum, exact."""
        assert self.kernels is not None
        return [self._product(g, self._sum(factors)) for factors in weightings(len(self.kernels))]

    def counts(self, g: Builder) -> tuple[str, str, str]:
        """m, irregular, M."""
        assert self.kernels is not None
        m = len(self.kernels)
        return fixed_counts(g, m, (1, m, *[1] * (self.kernels.ndim - 2)))


@dataclass
class MatMulInteger(Integer):
    """A MatMulInteger; ``kernels`` (..., M, K), or None where the right side is computed."""

    axis: int = -1

    @classmethod
    def of(cls, node: Any, name: str, known: Known) -> MatMulInteger:
        """The layer of ``node``. Raises Unprotected."""
        for index in (0, 1):
            value = known.value(node.input[index])
            rank = known.ranks.get(node.input[index]) if value is None else value.ndim
            if rank is None or rank < 2:
                raise Unprotected(f"{node.input[index]!r} is a vector, or its rank is not known")
            if len(node.input) > 2 + index and node.input[2 + index] and not (index and value is not None):
                zero = known.value(node.input[2 + index])
                rank = known.ranks.get(node.input[2 + index]) if zero is None else 0 if zero.size == 1 else 1
                if rank != 0:
                    raise Unprotected("a zero point for each row or column of a computed side")
        weight = known.value(node.input[1])
        if weight is None:
            return cls(node, name)
        zero = _zero_point(node, 3, known)
        return cls(node, name, kernels=np.swapaxes(weight.astype(np.int64) - zero, -1, -2))

    def _side(self, g: Builder, index: int) -> str:
        """A side without its zero point, float64."""
        wide = g.cast(self.node.input[index], TensorProto.DOUBLE)
        if len(self.node.input) <= 2 + index or not self.node.input[2 + index]:
            return wide
        return g.op("Sub", wide, g.cast(self.node.input[2 + index], TensorProto.DOUBLE))

    def _expected(self, g: Builder, sign: float) -> str:
        if self.kernels is not None:
            total = sign * self.kernels.sum(-2)[..., None].astype(np.float64)
            return g.op("MatMul", self._side(g, 0), g.constant(total, "Cw1"))
        total = g.reduce("ReduceSum", self._side(g, 1), [-1])
        return g.op("MatMul", self._side(g, 0), g.op("Mul", total, g.constant(sign)))

    def sums(self, g: Builder) -> list[str]:
        """Co5, Co6 and the irregular sum, exact."""
        if self.kernels is not None:
            three = weightings(self.kernels.shape[-2]) @ self.kernels.astype(np.float64)
            stored = g.constant(np.swapaxes(three, -1, -2), "Cw")
        else:
            number, third, _ = computed_counts(g, self.node.input[1], [-1, 1])
            ones = g.op("Add", g.op("Mul", number, g.constant(0.0)), g.constant(1.0))
            stored = g.op("MatMul", self._side(g, 1), g.op("Concat", ones, number, third, axis=1))
        product = g.op("MatMul", self._side(g, 0), stored)
        return [g.op("Gather", product, g.constant(np.array([j], np.int64)), axis=-1) for j in range(3)]

    def counts(self, g: Builder) -> tuple[str, str, str]:
        """m, irregular, M."""
        if self.kernels is None:
            return computed_counts(g, self.node.input[1], [1, -1])
        return fixed_counts(g, self.kernels.shape[-2], (1, self.kernels.shape[-2]))


def _zero_point(node: Any, index: int, known: Known) -> NDArray[np.int64]:
    """The constant zero point of the weights, 0 where there is none."""
    if len(node.input) <= index or not node.input[index]:
        return np.zeros(1, np.int64)
    zero = known.value(node.input[index])
    if zero is None:
        raise Unprotected("the zero point of its weights is computed")
    return zero.astype(np.int64)
