"""Checks of MatMul and Gemm in float32, row by row (column by column where the left side is constant).

For a row d of the left matrix, Co5 = d · Σ_m s_m w_m is compared with S5 = Σ_m s_m o_m of that row of the
output. A side that is constant has its sum stored, with fixed signs s_m = ±1 (``signs``): the kernels of a
trained classifier add up to nearly nothing, so that damage of d would cancel in a sum without signs. Where
both sides are computed, as in attention, the sum is computed too, and s_m = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from holdfast.abft.onnx.builder import Builder
from holdfast.abft.onnx.computed import INVISIBLE, computed_slope, size
from holdfast.abft.onnx.constants import Known
from holdfast.abft.onnx.layer import (
    Layer,
    Unprotected,
    computed_counts,
    fixed_counts,
    irregular,
    weightings,
)
from holdfast.abft.onnx.scale import TINY, UNIT, Scale, scale

_MANY = 256
_BEYOND = 1e300
_SEED = 4


@dataclass
class Matrix(Layer):
    """A MatMul or Gemm: ``d`` times ``w`` along axis −1, or ``w`` times ``d`` along axis −2.

    ``weight`` is the constant side with the shape (..., K, M) or (..., M, K) of that order, alpha included,
    or None where both sides are computed. ``factor`` is alpha where it is not in ``weight``; ``added`` and
    ``beta`` are the bias and its factor.
    """

    d: str = ""
    w: str = ""
    weight: NDArray[np.float32] | None = None
    factor: float = 1.0
    added: str = ""
    added_value: NDArray[np.float32] | None = None
    beta: float = 1.0
    transposed: tuple[bool, bool] = (False, False)

    @classmethod
    def of(cls, node: Any, name: str, known: Known) -> Matrix:
        """The layer of ``node``. Raises Unprotected."""
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        left, right = node.input[0], node.input[1]
        values = known.value(left), known.value(right)
        if values[0] is not None and values[1] is not None:
            raise Unprotected("both of its sides are constant")
        for side, value in zip((left, right), values, strict=True):
            rank = known.ranks.get(side) if value is None else value.ndim
            if rank is None:
                raise Unprotected(f"the rank of {side!r} is not known")
            if rank < 2:
                raise Unprotected(f"{side!r} is a vector")
        if (known.kinds.get(left) or known.kinds.get(right)) != TensorProto.FLOAT:
            raise Unprotected("it does not compute in float32")
        transposed = bool(attributes.get("transA", 0)), bool(attributes.get("transB", 0))
        alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
        added = node.input[2] if len(node.input) > 2 else ""
        weight = values[1] if values[0] is None else values[0]
        if weight is not None:
            if transposed[values[1] is not None]:
                weight = np.swapaxes(weight, -1, -2)
            weight = np.float32(alpha) * weight if alpha != 1.0 else weight
        swapped = values[0] is not None
        return cls(
            node,
            name,
            axis=-2 if swapped else -1,
            d=right if swapped else left,
            w=left if swapped else right,
            weight=weight,
            factor=1.0 if weight is not None else alpha,
            added=added,
            added_value=known.value(added) if added else None,
            beta=beta,
            transposed=transposed,
        )

    @property
    def kernels(self) -> NDArray[np.float32]:
        """The constant side as (..., M, K)."""
        assert self.weight is not None
        return self.weight if self.axis == -2 else np.swapaxes(self.weight, -1, -2)

    def delta(self, g: Builder, out: str) -> str:
        """S5 − Co5. The stored sum is negative, so that no two layers or checks look alike."""
        if self.weight is not None:
            total = -(self._signs() @ self.kernels.astype(np.float64))[..., None, :]
            cw1 = g.constant((total if self.axis == -2 else total.swapaxes(-1, -2)).astype(np.float32), "Cw1")
        else:
            cw1 = g.op("Neg", g.reduce("ReduceSum", self._side(g, 1), [-1]))
        delta = g.cast(g.op("Add", self._times(g, self._data(g), cw1), self._sum(g, out)), TensorProto.DOUBLE)
        bias = self._bias(g, out, None)
        return g.op("Sub", delta, bias) if bias else delta

    def _signs(self) -> NDArray[np.float64]:
        """s (M,); the same in every part of a long row."""
        m = self.kernels.shape[-2]
        parts = _parts(m) if self.axis == -1 else 1
        return np.tile(_mixed_signs(m // parts), parts)

    def _sum(self, g: Builder, out: str) -> str:
        """S5: of long rows by parts of about √M."""
        if self.weight is None:
            return g.reduce("ReduceSum", out, [self.axis])
        signs = self._signs().astype(np.float32)
        if self.axis == -2:
            return g.op("MatMul", g.constant(signs[None]), out)
        m = len(signs)
        parts = _parts(m)
        if parts == 1:
            return g.op("MatMul", out, g.constant(signs[:, None]))
        shape = g.op("Shape", out)
        rows = g.op("Slice", shape, *(g.constant(np.array([i], np.int64)) for i in (0, -1)))
        cut = g.constant(np.array([parts, m // parts], np.int64))
        split = g.op("Reshape", out, g.op("Concat", rows, cut, axis=0))
        return g.reduce("ReduceSum", g.op("MatMul", split, g.constant(signs[: m // parts])), [self.axis])

    def signs(self, g: Builder) -> str:
        """s along the axis, float64; "" for ones."""
        if self.weight is None:
            return ""
        return g.constant(self._signs().reshape((-1, 1) if self.axis == -2 else (1, -1)))

    def _side(self, g: Builder, index: int) -> str:
        """The left (0) or right (1) matrix, not transposed."""
        name = self.node.input[index]
        return g.op("Transpose", name, perm=[1, 0]) if self.transposed[index] else str(name)

    def _data(self, g: Builder) -> str:
        return self._side(g, 1 if self.axis == -2 else 0)

    def _times(self, g: Builder, d: str, w: str, dtype: Any = np.float32) -> str:
        product = g.op("MatMul", w, d) if self.axis == -2 else g.op("MatMul", d, w)
        if self.factor == 1.0:
            return product
        return g.op("Mul", product, g.constant(dtype(self.factor)))

    def _bias(self, g: Builder, out: str, weights: str | None) -> str:
        """β Σ_m c_m C along the axis, float64; "" without bias. c_m: ``weights``, or s_m."""
        if not self.added or self.beta == 0.0:
            return ""
        row = self._bias_row()
        if row is not None and weights is None:
            return g.constant(float(self._signs() @ row))
        weights = weights or self.signs(g)
        wide = g.cast(g.op("Expand", self.added, g.op("Shape", out)), TensorProto.DOUBLE)
        wide = g.op("Mul", wide, weights) if weights else wide
        return g.op("Mul", g.reduce("ReduceSum", wide, [self.axis]), g.constant(self.beta))

    def _bias_row(self) -> NDArray[np.float64] | None:
        """β C where it is one row (M,) that is known."""
        value = self.added_value
        if self.weight is None or self.axis == -2 or value is None or (value.ndim > 1 and value.shape[0] > 1):
            return None
        m = self.kernels.shape[-2]
        return self.beta * np.broadcast_to(value.reshape(-1), (m,)).astype(np.float64)

    @property
    def scale(self) -> Scale:
        """τ of a row by its norm, for constant weights; the largest of all matrices."""
        kernels, row = self.kernels, self._bias_row()
        m, k = kernels.shape[-2:]
        signs = self._signs()
        each = [scale(one, row, blocks=_parts(m), factor=signs) for one in kernels.reshape(-1, m, k)]
        return Scale(max(one.a for one in each), max(one.b for one in each))

    def tau(self, g: Builder) -> str:
        """a ‖d‖ + b of each row (column). Beyond float32 the norm is +Inf, and τ becomes NaN: a fault."""
        data = self._data(g)
        norm = g.cast(g.reduce("ReduceL2", data, [-2 if self.axis == -2 else -1]), TensorProto.DOUBLE)
        norm = g.op("Add", norm, g.constant(sqrt(INVISIBLE)))
        if self.weight is not None:
            found = self.scale
            slope, offset = g.constant(found.a), g.constant(found.b)
        else:
            found_slope = computed_slope(g, self._side(g, 1))
            slope = g.op("Mul", found_slope, g.constant(abs(self.factor)))
            offset = g.constant(1e6 * TINY)
        tau = g.op("Add", g.op("Mul", norm, slope), offset)
        if self.added and self._bias_row() is None:
            tau = g.op("Add", tau, self._bias_tau(g, data))
        return g.op("Mod", tau, g.constant(_BEYOND), fmod=1)

    def _bias_tau(self, g: Builder, data: str) -> str:
        """Bound of the share of a bias that is computed, or no single row: 8 u √K M max|β C|."""
        largest = g.cast(g.reduce("ReduceMax", g.op("Abs", self.added), keepdims=False), TensorProto.DOUBLE)
        k = size(g, data, -1 if self.axis == -1 else -2)
        m = size(g, self._side(g, 0 if self.axis == -2 else 1), self.axis)
        bound = g.op("Mul", g.op("Mul", g.op("Sqrt", k), m), largest)
        return g.op("Mul", bound, g.constant(8 * UNIT * abs(self.beta)))

    def sums(self, g: Builder) -> list[str]:
        """Co5, Co6 and the irregular sum in float64."""
        out = self.node.output[0]
        if self.weight is not None:
            m = self.kernels.shape[-2]
            three = (weightings(m) * self._signs()) @ self.kernels.astype(np.float64)  # (..., 3, K)
            stored = g.constant(three if self.axis == -2 else np.swapaxes(three, -1, -2), "Cw")
            vectors = [None, *self._vectors(g, m)]
        else:
            number, third, _ = computed_counts(g, self._side(g, 1), [-1, 1])
            wide = g.cast(self._side(g, 1), TensorProto.DOUBLE)
            ones = g.op("Add", g.op("Mul", number, g.constant(0.0)), g.constant(1.0))
            stored = g.op("MatMul", wide, g.op("Concat", ones, number, third, axis=1))
            flat = g.constant(np.array([1, -1], np.int64))
            vectors = [None, g.op("Reshape", number, flat), g.op("Reshape", third, flat)]
        product = self._times(g, g.cast(self._data(g), TensorProto.DOUBLE), stored, np.float64)
        sums = []
        for j, vector in enumerate(vectors):
            one = g.op("Gather", product, g.constant(np.array([j], np.int64)), axis=self.axis)
            bias = self._bias(g, out, vector)
            sums.append(g.op("Add", one, bias) if bias else one)
        return sums

    def _vectors(self, g: Builder, m: int) -> tuple[str, str]:
        shape, signs = (m, 1) if self.axis == -2 else (1, m), self._signs()
        return (
            g.constant((signs * np.arange(1.0, m + 1)).reshape(shape)),
            g.constant((signs * irregular(m)).reshape(shape)),
        )

    def counts(self, g: Builder) -> tuple[str, str, str]:
        """m, irregular, M."""
        if self.weight is None:
            return computed_counts(g, self._side(g, 1), [1, -1])
        m = self.kernels.shape[-2]
        return fixed_counts(g, m, (m, 1) if self.axis == -2 else (1, m))


def _mixed_signs(count: int) -> NDArray[np.float64]:
    """Signs in no order, two thirds of them positive: neither equal kernels nor such that add up to nothing
    cancel in Σ s_m W_m (of two kernels, only equal ones do)."""
    order = np.random.RandomState(_SEED).permutation(count)  # the same numbers in every version of numpy
    return np.where(order < max(1, round(count / 3)), -1.0, 1.0) if count > 1 else np.ones(1)


def _parts(m: int) -> int:
    """Into how many equal parts a sum of ``m`` is cut: the divisor next to √m; 1 where it is short."""
    if m < _MANY:
        return 1
    return min((p for p in range(1, m) if m % p == 0), key=lambda p: abs(p - sqrt(m)), default=1)
