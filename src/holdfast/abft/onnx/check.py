"""From a layer's deviations to one number: the largest |S5 − Co5| / τ, in which NaN is +Inf."""

from __future__ import annotations

from functools import reduce

import numpy as np
from onnx import TensorProto

from holdfast.abft.onnx.builder import Builder

_LARGEST = float(np.finfo(np.float32).max)


def deviation(g: Builder, *pairs: tuple[str, str]) -> str:
    """The largest |delta| / tau of ``pairs`` (delta, tau) over all positions, float32 (1,).

    What is not finite, or beyond float32, is +Inf. ReduceMax of ONNX Runtime loses a NaN that is not the
    first element, so NaN is replaced before the maximum; comparisons with NaN are false.
    """
    largest = [_largest(g, delta, tau) for delta, tau in pairs]
    return g.cast(reduce(lambda a, b: g.op("Max", a, b), largest), TensorProto.FLOAT)


def _largest(g: Builder, delta: str, tau: str) -> str:
    ratio = g.op("Div", g.op("Abs", delta), tau)
    known = g.op("LessOrEqual", ratio, g.constant(_LARGEST))
    safe = g.op("Where", known, ratio, g.constant(float("inf")))
    return g.op("Reshape", g.reduce("ReduceMax", safe, keepdims=False), g.constant(np.array([1], np.int64)))
