"""How long a training will take, told before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

from torch import Tensor

_STEPS = 4
"""Steps that are timed at most; the first is slower and counts only if it is the only one."""
_ENOUGH_SECONDS = 5.0


@dataclass(frozen=True)
class Estimate:
    """Expected durations in seconds: of one epoch with its validation, and of all that is left.

    ``images_per_second`` is that of the steps of training alone.
    """

    epoch_seconds: float
    total_seconds: float
    images_per_second: float

    def __str__(self) -> str:
        rate = f"{self.images_per_second:,.0f} images/s"
        return (
            f"about {duration(self.epoch_seconds)} an epoch ({rate}), {duration(self.total_seconds)} in all"
        )


def estimate(
    batches: Iterable[tuple[Tensor, Tensor]],
    step: Callable[[Tensor, Tensor], None],
    judge: Callable[[], None],
    *,
    steps: int,
    steps_per_epoch: int,
    judged_batches: int,
) -> Estimate:
    """Time a few calls of ``step`` with the first of ``batches``, and one of ``judge``, which sees one batch.

    ``steps`` are left. A partial last batch counts as a whole one. The first reading of files, which happens
    once where the data fit in memory, is not counted; nor are checkpoints. Nothing is known of an empty set:
    all durations are 0.
    """
    times, images, began = [], 0, perf_counter()
    for x, y in islice(batches, _STEPS):
        start = perf_counter()
        step(x, y)
        times.append(perf_counter() - start)
        images = max(images, len(y))
        if perf_counter() - began > _ENOUGH_SECONDS:
            break
    if not times:
        return Estimate(0.0, 0.0, 0.0)
    timed = sorted(times[1:] or times)
    a_step = timed[len(timed) // 2]
    start = perf_counter()
    judge()
    judging = judged_batches * (perf_counter() - start)
    whole = steps_per_epoch * a_step + judging
    return Estimate(whole, steps * a_step + steps / steps_per_epoch * judging, images / a_step)


def duration(seconds: float) -> str:
    """``seconds`` in the unit that one would say."""
    for limit, unit, size in ((99.5, "s", 1), (99.5 * 60, "min", 60)):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 3600:.3g} h"
