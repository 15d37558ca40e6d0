"""The branch that runs on a fault: CoC where one block is hit at a position, else the layer is recomputed.

Outputs are taken with the signs of ``Layer.signs``, so that all sums are of s_m O_m and errors too. At every
position the spoiled output m is found as δ6/δ5, or by itself where one is not finite, and becomes
Co5 − Σ of the others: the spoiled value never enters, so Inf, NaN and 1e38 are repaired as well. Several
spoiled outputs at a position can imitate one; so the result must then agree with Co5, Co6 and a third sum
with irregular weights, or it is thrown away and the layer computed again.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from holdfast.abft.onnx.builder import Builder
from holdfast.abft.onnx.check import deviation
from holdfast.abft.onnx.layer import IRREGULAR, Layer

NOTHING, COC, RECOMPUTED = 0, 1, 2
_LARGEST = float(np.finfo(np.float32).max)
_ROUNDING = 1e-12  # relative, of float64 sums that a huge value has entered
_BOOL, _DOUBLE, _FLOAT, _INT64 = TensorProto.BOOL, TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64


def correct(g: Builder, layer: Layer, raw: str, tau: str, found: str, out: str) -> tuple[str, str]:
    """Write ``out``, the corrected output ``raw`` whose deviation is ``found``.

    Returns the deviation of ``out`` (float32, (1,)) and what was done (int64, (1,)).
    """
    one = g.constant(np.array([1.0], np.float32))
    fault = g.op("Squeeze", g.op("Not", g.op("LessOrEqual", found, one)))
    calm = g.branch()
    untouched = _outputs(calm, layer, raw, found, NOTHING)
    storm = g.branch()
    fixed, deviates = _by_coc(storm, layer, raw, tau)
    accept = storm.op("Squeeze", storm.op("LessOrEqual", deviates, one))
    kept = storm.branch()
    good = _outputs(kept, layer, fixed, deviates, COC)
    anew = storm.branch()
    again = layer.again(anew)
    bad = _outputs(anew, layer, again, deviation(anew, (layer.delta(anew, again), tau)), RECOMPUTED)
    names = [storm.name(what) for what in ("output", "deviation", "action")]
    storm.ops("If", accept, outputs=names, then_branch=kept.graph(good), else_branch=anew.graph(bad))
    results = [(name, kind) for name, (_, kind) in zip(names, untouched, strict=True)]
    outputs = [out, g.name("deviation"), g.name("action")]
    g.ops("If", fault, outputs=outputs, then_branch=storm.graph(results), else_branch=calm.graph(untouched))
    return outputs[1], outputs[2]


def _outputs(g: Builder, layer: Layer, out: str, found: str, action: int) -> list[tuple[str, int]]:
    """What every branch ends with. A branch must make its outputs itself, hence the identities."""
    done = g.constant(np.array([action], np.int64))
    return [
        (g.op("Identity", out), layer.kind),
        (g.op("Identity", found), _FLOAT),
        (g.op("Identity", done), _INT64),
    ]


def _by_coc(g: Builder, layer: Layer, raw: str, tau: str) -> tuple[str, str]:
    """The output with one block corrected at every position that is off, and its deviation."""
    co5, co6, third = layer.sums(g)
    number, irregular, count = layer.counts(g)
    signs = layer.signs(g)

    def signed(x: str) -> str:
        return g.op("Mul", x, signs) if signs else x

    wide = signed(g.cast(raw, _DOUBLE))
    finite = g.op("LessOrEqual", g.op("Abs", wide), g.constant(_LARGEST))
    spoiled = g.op("Not", finite)
    known = g.op("Where", finite, wide, g.constant(0.0))

    def total(x: str) -> str:
        return g.reduce("ReduceSum", x, [layer.axis])

    lost = total(g.cast(spoiled, _DOUBLE))
    delta5 = g.op("Sub", co5, total(known))
    delta6 = g.op("Sub", co6, total(g.op("Mul", number, known)))
    found, certain = _located(g, delta5, delta6, g.constant(0.0) if layer.exact else tau, count)
    by_ratio = g.op("And", g.op("Equal", lost, g.constant(0.0)), certain)
    by_itself = g.op("And", g.op("Equal", lost, g.constant(1.0)), spoiled)
    changed = g.op("Or", by_itself, g.op("And", by_ratio, g.op("Equal", number, found)))
    others = total(g.op("Where", changed, g.constant(0.0), known))
    fixed = g.cast(signed(g.op("Where", changed, g.op("Sub", co5, others), wide)), layer.kind)

    wide = signed(g.cast(fixed, _DOUBLE))
    pairs = [(g.op("Sub", co5, total(wide)), tau)]
    for sum_, weights, largest in ((co6, number, count), (third, irregular, g.constant(float(IRREGULAR)))):
        delta = g.op("Sub", sum_, total(g.op("Mul", weights, wide)))
        pairs.append((delta, tau if layer.exact else g.op("Mul", tau, largest)))
    return fixed, deviation(g, *pairs)


def _located(g: Builder, delta5: str, delta6: str, tau: str, count: str) -> tuple[str, str]:
    """m = δ6/δ5, and whether it is beyond doubt: as ``schemes.ratio``, with τ6 = M τ; 0 if exact."""
    found = g.op("Round", g.op("Div", delta6, delta5))
    size, miss = g.op("Abs", delta5), g.op("Abs", g.op("Sub", delta6, g.op("Mul", found, delta5)))
    slack = g.op(
        "Sum",
        g.op("Mul", tau, count),
        g.op("Mul", tau, found),
        g.op("Mul", g.op("Abs", delta6), g.constant(_ROUNDING)),
    )
    conditions = (
        g.op("GreaterOrEqual", found, g.constant(1.0)),
        g.op("LessOrEqual", found, count),
        g.op("LessOrEqual", miss, slack),
        g.op("Less", g.op("Add", slack, slack), size),
        g.op("Greater", size, tau),
    )
    certain = conditions[0]
    for condition in conditions[1:]:
        certain = g.op("And", certain, condition)
    return found, certain
