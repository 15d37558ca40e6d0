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
KEYS: tuple[Key, ...] = (
    ("CoC-D", "every"),
    *((scheme, positions) for scheme in RUNGS for positions in ("one", "every")),
)
RATIOS: tuple[tuple[str, str], ...] = (
    *((scheme, "FC") for scheme in ("CoC-D", "CoC", "RC", "ClC")),
    ("CoC-D", "CoC"),
    ("workflow", "all alone"),
)
"""The schemes whose times are set in relation: (of, to)."""
LEAST = 2


def scheme_ratios(
    protected: Protected,
    model: Callable[[], Tensor],
    x: Tensor,
    positions: tuple[str, ...],
    most: int,
    budget_s: float,
) -> dict[Key, NDArray[np.float64]]:
    """Time of each scheme summed over all layers, over the time of ``model``: ratios (rounds,).

    CoC-D looks at every position; the others at the ``positions``: "every" one of the fault-free output, as
    the paper times them, or the "one" where a fault may be, which is what an error costs here. ``LEAST``
    rounds and up to ``most`` while ``budget_s`` lasts; nothing without positions.
    """
    ratios: dict[Key, list[float]] = defaultdict(list)
    begun = perf_counter()
    for number in range(1 + most if positions else 0):  # the first round warms up
        if number > LEAST and perf_counter() - begun > budget_s:
            break
        totals: dict[Key, float] = defaultdict(float)

        def timer(layer: ProtectedLayer, d: Tensor, out: Tensor, totals: dict[Key, float] = totals) -> None:
            for key, seconds in _layer_times(layer, d, out, positions):
                totals[key] += seconds

        start = perf_counter()
        model()
        took = perf_counter() - start
        with torch.inference_mode(), protected.guard.captured(timer):
            protected(x)
        for key, seconds in totals.items():
            ratios[key].append(seconds / took)
    return {key: np.array(values[1:]) for key, values in ratios.items()}


def compared(ratios: dict[Key, NDArray[np.float64]]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """``RATIOS`` of the times at every position: what the slides say of which scheme is the dearer one.

    "Workflow" is CoC-D and all rungs in turn, "all alone" the sum of the schemes one by one.
    """
    times = {scheme: values for (scheme, positions), values in ratios.items() if positions == "every"}
    times["all alone"] = np.sum([times[scheme] for scheme in ("CoC-D", "CoC", "RC", "ClC", "FC")], axis=0)
    times["workflow"] = times["CoC-D"] + times["workflow"]
    return {(of, to): times[of] / times[to] for of, to in RATIOS}


def _layer_times(
    layer: ProtectedLayer, d: Tensor, out: Tensor, wanted: tuple[str, ...]
) -> list[tuple[Key, float]]:
    start = perf_counter()
    values, channels_last = layer.arrange(d)
    total, stats = batch_sum(values)
    expected = layer.expected(total, channels_last)
    layer.check(out, expected, values.shape[0], 1.0)
    times: list[tuple[Key, float]] = [(("CoC-D", "every"), perf_counter() - start)]
    cd1 = total.movedim(-1, 0) if channels_last else total
    everywhere = torch.arange(len(expected))
    places = {"every": everywhere, "one": everywhere[len(expected) // 2 :][:1]}
    guard = Guard("correct")
    for scheme, rungs in RUNGS.items():
        for name in wanted:
            call = LayerCall(layer, d, out, cd1, expected, stats, 1.0)
            start = perf_counter()
            correct(call, guard, places[name], rungs)
            times.append(((scheme, name), perf_counter() - start))
    return times
