"""Paired timing: A B A B in one process, so that a ratio survives a noisy machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from holdfast.core.result import Interval
from holdfast.core.stats import bootstrap


@dataclass(frozen=True)
class PairedTiming:
    """Times in ms of A and B, measured in turn; ``ratio`` is the median of B/A over the pairs."""

    a_ms: NDArray[np.float64]
    b_ms: NDArray[np.float64]

    @property
    def ratio(self) -> float:
        """Median of the paired ratios B/A."""
        return float(np.median(self.b_ms / self.a_ms))

    def interval(self, seed: int = 0) -> Interval:
        """Bootstrap interval of the median ratio."""
        return bootstrap(self.b_ms / self.a_ms, seed=seed)


def time_ms(call: Callable[[], object], repeats: int, warmup: int = 3) -> NDArray[np.float64]:
    """Wall times in ms of ``repeats`` calls after ``warmup`` uncounted ones."""
    for _ in range(warmup):
        call()
    times = np.empty(repeats)
    for index in range(repeats):
        start = perf_counter()
        call()
        times[index] = (perf_counter() - start) * 1e3
    return times


def time_pairs(
    a: Callable[[], object], b: Callable[[], object], pairs: int = 30, warmup: int = 3
) -> PairedTiming:
    """Time ``a`` and ``b`` in turn, ``pairs`` times after ``warmup`` uncounted pairs."""
    for _ in range(warmup):
        a()
        b()
    a_ms, b_ms = np.empty(pairs), np.empty(pairs)
    for index in range(pairs):
        a_ms[index] = time_ms(a, 1, 0)[0]
        b_ms[index] = time_ms(b, 1, 0)[0]
    return PairedTiming(a_ms, b_ms)
