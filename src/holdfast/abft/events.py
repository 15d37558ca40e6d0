"""What a protected model records, and what its layers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["deviation", "non-finite", "non-finite input"]
Action = Literal["corrected", "recomputed", "rerun", "recorded", "raised"]
OnFault = Literal["correct", "record", "raise"]
ON_FAULT: tuple[OnFault, ...] = ("correct", "record", "raise")
RUNGS = ("CoC", "RC", "ClC", "FC", "recompute")
"""The rungs of the ladder, in order."""
Tap = Callable[[str, str, Any], None]
Capture = Callable[[Any, Any, Any], None]
Watch = Callable[[str, float, float], None]


@dataclass(frozen=True)
class Event:
    """A soft error that a check found.

    ``layer``: name in the original model. ``scheme``: the rung that made it right (``CoC``, ``RC``, ``ClC``,
    ``FC``, ``checksums discarded``, ``checksums renewed``, ``input restored``, ``recomputed``, ``model run
    again``), or ``CoC-D``, which found it, where none did. ``kind``: a sum that is off, a NaN or Inf in the
    output, or one in the input that the layer was called with. ``location``: the first position that is off,
    its index in the output's map; None where it is unknown. ``deviation``: the largest |S5 − Co5|, +Inf for a
    NaN or Inf. ``threshold``: what it was compared with, in the same unit, that of the layer's output.
    ``action``: what was done. ``corrected``: whether the output was right in the end. ``rungs``: what was
    tried, in order.
    """

    layer: str
    scheme: str
    kind: Kind
    location: tuple[int, ...] | None
    deviation: float
    threshold: float
    action: Action
    corrected: bool
    rungs: tuple[str, ...] = ()


@dataclass
class Guard:
    """What the protected layers of one model share: where events go, and what to do about a fault.

    ``rungs``: which rungs may be used, of all layers; ``plan``: of single layers, by name. ``tap`` is called
    with (layer, site, tensor) for each checksum that is used, and may damage it: the way in for campaigns.
    ``watch`` is called with (layer, largest deviation, threshold) after each check, ``capture`` with
    (protected layer, input, output).
    """

    on_fault: OnFault
    events: list[Event] = field(default_factory=list)
    rungs: tuple[str, ...] = RUNGS
    plan: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tap: Tap | None = None
    watch: Watch | None = None
    capture: Capture | None = None

    def rungs_of(self, layer: str) -> tuple[str, ...]:
        """The rungs that ``layer`` may use, in order."""
        planned = self.plan.get(layer, RUNGS)
        return tuple(rung for rung in self.rungs if rung in planned)

    @contextmanager
    def told_once(self, met: list[Event]) -> Iterator[None]:
        """Repeat in the block a run that met ``met`` and was thrown away; what comes again is told once."""
        before = list(self.events)
        try:
            yield
        finally:
            again = {_what(event) for event in _without(self.events, before)}
            repeated = [event for event in met if _what(event) in again]
            self.events[:] = _without(self.events, repeated)

    @contextmanager
    def watched(self, watch: Watch) -> Iterator[None]:
        """Call ``watch`` after each check while the block runs."""
        before, self.watch = self.watch, watch
        try:
            yield
        finally:
            self.watch = before

    @contextmanager
    def captured(self, capture: Capture) -> Iterator[None]:
        """Call ``capture`` after each layer while the block runs, beside any that is there already."""
        before = self.capture

        def both(layer: Any, x: Any, out: Any) -> None:
            capture(layer, x, out)
            if before is not None:
                before(layer, x, out)

        self.capture = both
        try:
            yield
        finally:
            self.capture = before

    def tapped(self, layer: str, site: str, values: Any) -> None:
        """Let the tap see, and perhaps damage, a checksum."""
        if self.tap is not None:
            self.tap(layer, site, values)


def _what(event: Event) -> tuple[object, ...]:
    return event.layer, event.kind, event.location


def _without(events: list[Event], others: list[Event]) -> list[Event]:
    return [event for event in events if not any(event is other for other in others)]
