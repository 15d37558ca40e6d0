"""What a protected model records, and what its layers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["deviation", "non-finite", "non-finite input"]
Action = Literal["recomputed", "recorded", "raised"]
OnFault = Literal["correct", "record", "raise"]
ON_FAULT: tuple[OnFault, ...] = ("correct", "record", "raise")


@dataclass(frozen=True)
class Event:
    """A soft error that a check found.

    ``layer``: name in the original model. ``scheme``: the checksums that found it (``CoC-D``). ``kind``: a
    sum that is off, a NaN or Inf in the output, or one in the input that the layer was called with.
    ``location``: the first position that is off, (y, x) of a convolution's output, the indices between batch
    and features of a Linear's; None where it is unknown. ``deviation``: the largest |S5 − Co5|, +Inf for a
    NaN or Inf. ``threshold``: what it was compared with, in the same unit, that of the layer's output.
    ``action``: what was done. ``corrected``: whether the output was right in the end.
    """

    layer: str
    scheme: str
    kind: Kind
    location: tuple[int, ...] | None
    deviation: float
    threshold: float
    action: Action
    corrected: bool


@dataclass
class Guard:
    """What the protected layers of one model share: where events go, and what to do about a fault."""

    on_fault: OnFault
    events: list[Event] = field(default_factory=list)
