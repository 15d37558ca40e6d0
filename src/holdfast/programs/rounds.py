"""Several calls timed in turn, round after round, so that every ratio of two is one of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

Times = dict[str, NDArray[np.float64]]
"""Of every call the wall times in ms (rounds,)."""


def time_rounds(
    calls: Mapping[str, Callable[[], object]], *, least: int, most: int, budget_s: float, warmup: int = 1
) -> Times:
    """Time all ``calls`` once a round: ``least`` rounds, and up to ``most`` while ``budget_s`` lasts.

    Every other round goes backwards, so that no call always follows the same one. ``warmup`` rounds are not
    counted, but their time is.
    """
    start = perf_counter()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-warmup, most):
        names = list(calls) if number % 2 else list(calls)[::-1]
        for name in names:
            before = perf_counter()
            calls[name]()
            if number >= 0:
                found[name].append((perf_counter() - before) * 1e3)
        if number + 1 >= least and perf_counter() - start > budget_s:
            break
    return {name: np.array(values) for name, values in found.items()}
