"""Whether a rerun's metric is the recorded one's equal: three answers, by a stated margin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import NormalDist
from typing import Any, Final, Literal

import numpy as np

from holdfast.core.errors import UsageError
from holdfast.core.result import Interval, Label, Record
from holdfast.core.stats import median_interval
from holdfast.hub.points import REPETITION

Verdict = Literal["reproduced", "not reproduced", "not comparable"]
LEVEL: Final = 0.90
"""Level of the interval of a difference: two one-sided tests at 5 % (Schuirmann 1987)."""
_MARGIN = re.compile(r"(?P<value>[0-9.eE+-]+)\s*(?P<percent>%?)")


@dataclass(frozen=True)
class Margin:
    """The largest difference that still counts as equal: in the metric's unit, or of the recorded value."""

    value: float
    relative: bool = False
    origin: Literal["default", "declared", "given"] = "default"

    @classmethod
    def parse(cls, text: str | float, origin: Literal["declared", "given"] = "given") -> Margin:
        """``"5%"``, ``"0.01"`` or a number as a margin; 0 asks for equality. Raises UsageError."""
        match = _MARGIN.fullmatch(str(text).strip())
        try:
            value = float(match["value"]) if match else -1.0
        except ValueError:
            value = -1.0
        if match is None or not (isfinite(value) and value >= 0):
            raise UsageError("margin", expected="a number from 0 on, or a share such as 5%", got=repr(text))
        return cls(value / 100 if match["percent"] else value, bool(match["percent"]), origin)

    def of(self, recorded: float) -> float:
        """The margin in the metric's unit beside a recorded value."""
        return self.value * abs(recorded) if self.relative else self.value

    def __str__(self) -> str:
        """``±5 %``, ``±0.01`` or ``equal``, and where it comes from."""
        size = f"±{100 * self.value:g} %" if self.relative else f"±{self.value:g}"
        return f"{size if self.value else 'equal'} ({self.origin})"


EXACT = Margin(0.0)
TIMED = Margin(0.10, relative=True)


@dataclass(frozen=True)
class Compared:
    """A metric with labels: what was recorded, what the rerun gave, and the answer with its reason.

    ``difference`` is rerun minus recorded, ``low`` and ``high`` its interval at ``LEVEL`` where values vary.
    """

    metric: str
    labels: dict[str, Label]
    unit: str
    timed: bool
    recorded: float | None
    rerun: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: str
    verdict: Verdict
    reason: str
    simulated: bool = False


def compare(
    recorded: Sequence[Record],
    rerun: Sequence[Record],
    margins: Mapping[str, Margin],
    other_platform: str | None = None,
) -> list[Compared]:
    """One row for each metric with labels of either side; repetitions of one point make one row.

    ``margins`` by metric; by default timed metrics may differ by ``TIMED``, all others by nothing.
    ``other_platform`` says how the rerun's platform differs, which leaves timed metrics not comparable.
    """
    before, after = _grouped(recorded), _grouped(rerun)
    return [
        _row(before.get(key, []), after.get(key, []), margins, other_platform)
        for key in dict.fromkeys([*before, *after])
    ]


def overall(rows: Sequence[Compared]) -> Verdict:
    """Not reproduced if one row is not; reproduced if at least one is; else not comparable."""
    verdicts = {row.verdict for row in rows}
    if "not reproduced" in verdicts:
        return "not reproduced"
    return "reproduced" if "reproduced" in verdicts else "not comparable"


def _grouped(records: Sequence[Record]) -> dict[tuple[Any, ...], list[Record]]:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        labels = sorted((name, repr(value)) for name, value in record.labels.items() if name != REPETITION)
        groups.setdefault((record.metric, *labels), []).append(record)
    return groups


def _row(
    old: list[Record], new: list[Record], margins: Mapping[str, Margin], other_platform: str | None
) -> Compared:
    first = (old or new)[0]
    margin = margins.get(first.metric, TIMED if first.timed else EXACT)
    values, others = _values(old), _values(new)
    before, after = _centre(values), _centre(others)
    difference = None if before is None or after is None else after - before
    low = high = None
    verdict: Verdict = "not comparable"
    if not old:
        reason = "not in the recorded experiment"
    elif before is None:
        reason = f"no value was recorded ({first.status})"
    elif not new or after is None:
        verdict, reason = "not reproduced", f"no value in the rerun ({new[0].status if new else 'no record'})"
    elif first.unit != new[0].unit:
        reason = f"units differ: {first.unit} and {new[0].unit}"
    elif first.timed and other_platform:
        reason = f"timed, and the platform is another: {other_platform}"
    elif first.timed or (margin.value and len(set(values)) > 1 and len(set(others)) > 1):
        between = _interval_of_difference(old, new)
        if isinstance(between, str):
            reason = between
        else:
            low, high = between
            verdict, reason = _tested(low, high, margin.of(before))
    else:
        verdict, reason = _equal(values, others, margin.of(before))
    labels = {name: value for name, value in first.labels.items() if name != REPETITION}
    return Compared(
        *(first.metric, labels, first.unit, first.timed, before, after, difference, low, high, str(margin)),
        verdict,
        reason,
        any(record.simulated for record in (*old, *new)),
    )


def _tested(low: float, high: float, margin: float) -> tuple[Verdict, str]:
    if -margin <= low and high <= margin:
        return "reproduced", "the interval of the difference lies within the margin"
    if low > margin or high < -margin:
        return "not reproduced", "the interval of the difference lies outside the margin"
    return "not comparable", "the interval of the difference crosses the margin: too noisy to tell"


def _equal(values: list[float], others: list[float], margin: float) -> tuple[Verdict, str]:
    if len(values) != len(others):
        return "not reproduced", f"{len(values)} values recorded, {len(others)} in the rerun"
    furthest = max(abs(a - b) for a, b in zip(values, others, strict=True))
    if furthest <= margin * (1 + 1e-9):  # 2.1 - 2.0 is a little more than 5 % of 2.0
        return "reproduced", "equal" if furthest == 0 else f"within the margin, off by {furthest:.3g}"
    return "not reproduced", f"off by {furthest:.3g}"


def _values(records: list[Record]) -> list[float]:
    """Repetitions where there are any, else the values themselves."""
    single = [record for record in records if REPETITION in record.labels] or records
    return [record.value for record in single if record.status == "ok" and record.value is not None]


def _centre(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _interval_of_difference(old: list[Record], new: list[Record]) -> tuple[float, float] | str:
    """Interval of rerun minus recorded from the intervals of both (MOVER; Zou and Donner 2008), or why none.

    Medians of both sides are independent of each other, and their intervals need not be symmetric.
    """
    before, after = _side(old), _side(new)
    if isinstance(before, str):
        return f"recorded: {before}"
    if isinstance(after, str):
        return f"rerun: {after}"
    (a, a_low, a_high), (b, b_low, b_high) = before, after
    difference = b - a
    below = sqrt((b - b_low) ** 2 + (a_high - a) ** 2)
    above = sqrt((b_high - b) ** 2 + (a - a_low) ** 2)
    return difference - below, difference + above


def _side(records: list[Record]) -> tuple[float, float, float] | str:
    """Centre and bounds at ``LEVEL`` of one side, or why there are none."""
    values = _values(records)
    centre = float(np.median(values))
    if len(values) > 1:
        interval = median_interval(np.array(values), LEVEL)
        if interval.level < LEVEL:
            return f"{len(values)} repetitions, of at least 5 that an interval needs"
        return centre, interval.low, interval.high
    interval_kept = next((record.interval for record in records if record.interval is not None), None)
    if interval_kept is None:
        return "one timing without an interval has no spread to test with"
    return (centre, *_at_level(centre, interval_kept))


def _at_level(centre: float, interval: Interval) -> tuple[float, float]:
    """Bounds at ``LEVEL`` from those at another level, as of a normal distribution on either side."""
    quantile = NormalDist().inv_cdf
    scale = quantile(0.5 + LEVEL / 2) / quantile(0.5 + interval.level / 2)
    return centre - scale * (centre - interval.low), centre + scale * (interval.high - centre)
