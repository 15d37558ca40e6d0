"""The scale of a matrix that is computed, as in attention: ``scale``'s formula in the nodes of a graph."""

from __future__ import annotations

from math import sqrt

import numpy as np
from onnx import TensorProto

from holdfast.abft.onnx.builder import Builder
from holdfast.abft.onnx.scale import UNIT
from holdfast.abft.threshold import SIGMAS

INVISIBLE = 1e-32
"""Added to squares, so that values whose squares vanish in float32 raise no alarm."""


def size(g: Builder, x: str, axis: int) -> str:
    """The size of ``x`` along ``axis``, float64."""
    return g.cast(g.op("Gather", g.op("Shape", x), g.constant(np.array(axis, np.int64))), TensorProto.DOUBLE)


def computed_slope(g: Builder, w: str) -> str:
    """``Scale.a`` of ``w`` (..., K, M) as it comes: (..., 1, 1), float64.

    (c) is bounded by (M/2) (Σ W² + ‖Cw1‖²), which covers independent and equal columns.
    """
    wide = g.cast(w, TensorProto.DOUBLE)
    k, m = size(g, wide, -2), size(g, wide, -1)
    columns = g.reduce("ReduceSum", wide, [-2])
    squares = g.reduce("ReduceSumSquare", wide, [-2])
    cw1 = g.reduce("ReduceSum", wide, [-1])
    all_squares, cw1_squares = _total(g, squares), g.reduce("ReduceSumSquare", cw1, [-2])
    whole = _total(g, columns)

    own = _omega(g, all_squares, g.reduce("ReduceSumSquare", columns, [-1]))
    checksum = g.op("Mul", _omega(g, cw1_squares, g.op("Mul", whole, whole)), g.constant(5.0))
    partial = g.op("Mul", g.op("Add", all_squares, cw1_squares), g.op("Mul", m, g.constant(1 / 32)))
    variance = g.op("Sum", own, checksum, partial, g.constant(INVISIBLE))
    random = g.op("Mul", g.op("Sqrt", variance), g.constant(SIGMAS / sqrt(3)))

    sums = _total(g, _one_sided(g, columns, squares, k))
    steady = g.op("Add", sums, _one_sided(g, whole, cw1_squares, k))
    steady = g.op("Mul", steady, g.op("Mul", g.op("Sqrt", k), g.constant(2 / 3)))
    cubed = g.op("Mul", cw1_squares, g.op("Sqrt", cw1_squares))
    twice = g.op("Add", g.op("Mul", all_squares, g.constant(2.0)), g.constant(INVISIBLE))
    alike = g.op("Div", cubed, twice)  # ϱ Σ_j ‖V_j‖, with at most (M/2) ‖Cw1‖ for the sum
    return g.op("Mul", g.op("Sum", random, steady, alike), g.constant(UNIT))


def _total(g: Builder, x: str) -> str:
    return g.reduce("ReduceSum", x, [-1])


def _omega(g: Builder, norm2: str, sum2: str) -> str:
    """ω² = ‖w‖² + (Σ w)²/2."""
    return g.op("Add", norm2, g.op("Mul", sum2, g.constant(0.5)))


def _one_sided(g: Builder, sums: str, norm2: str, k: str) -> str:
    """|Σ w| of the kernels whose mean exceeds their spread, else 0."""
    twice = g.op("Mul", g.op("Mul", sums, sums), g.constant(2.0))
    steady = g.op("Greater", twice, g.op("Mul", k, norm2))
    return g.op("Where", steady, g.op("Abs", sums), g.constant(0.0))
