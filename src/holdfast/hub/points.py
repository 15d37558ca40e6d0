"""Points: a value measured again and again, until it is known well enough or the budget ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from time import perf_counter
from typing import Any, Literal

import numpy as np

from holdfast.core.errors import DataError, UsageError
from holdfast.core.result import ComponentRef, Direction, Interval, Label, Record
from holdfast.core.stats import median_interval
from holdfast.hub.machine_state import State, machine_state

Stopped = Literal["repetitions", "tight", "budget: repetitions", "budget: seconds"]
REPETITION = "repetition"
"""Label of a record that holds one repetition; the record without it holds the median of all."""


@dataclass(frozen=True)
class Until:
    """Go on until the interval's half width is at most ``relative`` of the median, or a budget ends.

    The budgets are the number of counted ``repetitions`` and the ``seconds`` since the first warm-up. To look
    again and again and to stop when the interval is tight favours short ones: its level then is nominal.
    """

    relative: float = 0.02
    repetitions: int = 100
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if not (self.relative > 0 and self.repetitions >= 1 and self.seconds > 0):
            raise UsageError("until", expected="relative, repetitions and seconds above zero", got=self)


@dataclass(frozen=True)
class Outliers:
    """Values far from the rest: how many, and the furthest; none of them is ever dropped.

    Far means a modified z-score 0.6745 |x - median| / MAD above 3.5 (Iglewicz and Hoaglin 1993). ``z`` is
    that of the furthest; None where more than half of the values are equal, and every other one is far.
    """

    count: int
    furthest: float
    z: float | None

    def __str__(self) -> str:
        """The note: "2 outliers, the furthest 9.1 at 12.3 deviations; all are counted"."""
        far = "where most values are equal" if self.z is None else f"at {self.z:.1f} deviations"
        noun = "outlier" if self.count == 1 else "outliers"
        return f"{self.count} {noun}, the furthest {self.furthest:.6g} {far}; all are counted"


@dataclass(frozen=True)
class Point:
    """What repeated measurement gave: ``values`` in order, none left out; ``warmup`` ones not counted.

    ``interval`` is that of the median; None for fewer than two values. ``before`` and ``after`` are states of
    the machine (see ``machine_state``), ``stopped`` says why no more was measured.
    """

    values: tuple[float, ...]
    warmup: tuple[float, ...]
    median: float
    mean: float
    interval: Interval | None
    outliers: Outliers | None
    stopped: Stopped
    seconds: float
    before: State
    after: State

    def to_json(self) -> dict[str, Any]:
        """The point as a JSON object."""
        data = asdict(self)
        data["interval"] = self.interval.model_dump() if self.interval else None
        return data

    def records(
        self,
        metric: str,
        unit: str,
        direction: Direction,
        *,
        timed: bool,
        labels: Mapping[str, Label] | None = None,
        seed: int | None = None,
        components: Mapping[str, ComponentRef] | None = None,
    ) -> list[Record]:
        """The median with its interval and the note on outliers, then one record a repetition."""

        def record(value: float, more: Mapping[str, Label], **fields: Any) -> Record:
            return Record(
                metric=metric,
                value=value,
                unit=unit,
                direction=direction,
                timed=timed,
                labels={**(labels or {}), **more},
                seed=seed,
                components=dict(components or {}),
                **fields,
            )

        note = None if self.outliers is None else str(self.outliers)
        whole = record(self.median, {}, n=len(self.values), interval=self.interval, message=note)
        return [whole, *(record(value, {REPETITION: i}) for i, value in enumerate(self.values))]


def measure(
    run_once: Callable[[], float], *, warmup: int = 1, repetitions: int = 5, until: Until | None = None
) -> Point:
    """Call ``run_once`` ``warmup`` times uncounted, then ``repetitions`` times, or longer ``until`` tight.

    ``run_once`` returns the value that it measured, a finite number. What it raises passes through: whether
    a failed repetition makes a failed point is the caller's to say. Raises UsageError for numbers below 0 or
    1, DataError for a value that is not finite.
    """
    if warmup < 0 or repetitions < 1:
        got = f"{warmup} and {repetitions}"
        raise UsageError("warm-up and repetitions", expected="at least 0 and at least 1", got=got)
    before, start = machine_state(), perf_counter()
    ignored = tuple(_finite(run_once()) for _ in range(warmup))
    values: list[float] = []
    stopped: Stopped | None = None
    while stopped is None:
        values.append(_finite(run_once()))
        stopped = _stop(values, repetitions, until, perf_counter() - start)
    return Point(
        tuple(values),
        ignored,
        float(np.median(values)),
        float(np.mean(values)),
        median_interval(np.array(values)) if len(values) > 1 else None,
        outliers(values),
        stopped,
        perf_counter() - start,
        before,
        machine_state(),
    )


def outliers(values: Sequence[float]) -> Outliers | None:
    """What is far from the rest of ``values``; None if nothing is, or for fewer than three values."""
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 3:
        return None
    away = np.abs(data - np.median(data))
    deviation = float(np.median(away))
    far = away > (3.5 / 0.6745 * deviation)
    if not far.any():
        return None
    worst = int(np.argmax(away))
    z = 0.6745 * float(away[worst]) / deviation if deviation > 0 else None
    return Outliers(int(far.sum()), float(data[worst]), z)


def _stop(values: list[float], repetitions: int, until: Until | None, seconds: float) -> Stopped | None:
    if until is None:
        return "repetitions" if len(values) >= repetitions else None
    if len(values) >= repetitions and len(values) > 1 and _tight(values, until.relative):
        return "tight"
    if len(values) >= max(until.repetitions, repetitions):
        return "budget: repetitions"
    return "budget: seconds" if seconds >= until.seconds else None


def _tight(values: list[float], relative: float) -> bool:
    interval = median_interval(np.array(values))
    # Few values cannot have an interval of this level, however equal they are.
    enough = interval.level >= 0.95 or interval.low == interval.high
    return enough and (interval.high - interval.low) / 2 <= relative * abs(float(np.median(values)))


def _finite(value: float) -> float:
    value = float(value)
    if not isfinite(value):
        raise DataError("a measured value", expected="a finite number", got=value)
    return value
