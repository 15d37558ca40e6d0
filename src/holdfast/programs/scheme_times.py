"""How long each scheme takes on every layer of a model: the layer's D, W and O, a rung, a clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.abft.events import Guard
from holdfast.abft.ladder import correct
from holdfast.abft.layer_call import LayerCall
from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.protect import Protected
from holdfast.kernels import batch_sum

RUNGS = {
    "CoC": ("CoC",),
    "RC": ("RC",),
    "ClC": ("ClC",),
    "FC": ("FC",),
    "workflow": ("CoC", "RC", "ClC", "FC"),
}
Key = tuple[str, str]
"""Scheme, and "every" position or "one"."""


def scheme_ratios(
    protected: Protected, model: Callable[[], Tensor], x: Tensor, repeats: int
) -> dict[Key, NDArray[np.float64]]:
    """Time of each scheme summed over all layers, over the time of ``model``, ``repeats`` times in turn.

    CoC-D looks at every position; the others look at every position of the fault-free output, as the paper
    times them, or at the one position where a fault may be, which is what an error costs here.
    """
    ratios: dict[Key, list[float]] = defaultdict(list)
    for _ in range(repeats + 1):
        totals: dict[Key, float] = defaultdict(float)

        def timer(layer: ProtectedLayer, d: Tensor, out: Tensor, totals: dict[Key, float] = totals) -> None:
            for key, seconds in _layer_times(layer, d, out):
                totals[key] += seconds

        start = perf_counter()
        model()
        took = perf_counter() - start
        with torch.inference_mode(), protected.guard.captured(timer):
            protected(x)
        for key, seconds in totals.items():
            ratios[key].append(seconds / took)
    # The first round warms up.
    return {key: np.array(values[1:]) for key, values in ratios.items()}


def compared(ratios: dict[Key, NDArray[np.float64]]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Times at every position over each other: what the slides say of which scheme is the dearer one."""
    times = {scheme: values for (scheme, positions), values in ratios.items() if positions == "every"}
    pairs = {(of, "FC"): times[of] / times["FC"] for of in ("CoC-D", "CoC", "RC", "ClC")}
    alone = sum(times[scheme] for scheme in ("CoC-D", "CoC", "RC", "ClC", "FC"))
    together = times["CoC-D"] + times["workflow"]
    return {
        **pairs,
        ("CoC-D", "CoC"): times["CoC-D"] / times["CoC"],
        ("workflow", "all alone"): together / alone,
    }


def _layer_times(layer: ProtectedLayer, d: Tensor, out: Tensor) -> list[tuple[Key, float]]:
    start = perf_counter()
    values, channels_last = layer.arrange(d)
    total, stats = batch_sum(values)
    expected = layer.expected(total, channels_last)
    layer.check(out, expected, values.shape[0], 1.0)
    times: list[tuple[Key, float]] = [(("CoC-D", "every"), perf_counter() - start)]
    cd1 = total.movedim(-1, 0) if channels_last else total
    everywhere = torch.arange(len(expected))
    guard = Guard("correct")
    for scheme, rungs in RUNGS.items():
        for name, positions in (("every", everywhere), ("one", everywhere[len(expected) // 2 :][:1])):
            call = LayerCall(layer, d, out, cd1, expected, stats, 1.0)
            start = perf_counter()
            correct(call, guard, positions, rungs)
            times.append(((scheme, name), perf_counter() - start))
    return times
