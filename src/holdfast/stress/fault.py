"""Faults: what a soft error does to the numbers of one layer, described so that it can be replayed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from holdfast.core.errors import UsageError
from holdfast.core.protocols import SITES, Site

FORMAT = "holdfast.faults/2"
_READABLE = ("holdfast.faults/1", FORMAT)

Effect = Literal["flip", "random", "inf", "-inf", "nan", "large"]
Pattern = Literal["element", "block", "row", "column", "across"]
Storage = Literal["both", "parameter", "computing"]


@dataclass(frozen=True)
class Fault:
    """One soft error at one ``site`` of one layer; by default one flipped bit of one element.

    ``layer`` is the layer's name in the unprotected model. ``site``: its ``weight``, ``input`` or ``output``,
    its ``accumulator`` (a sum that goes wrong after ``step`` of the products of an output element), or one of
    its checksums (``cd1`` … ``co7``). ``index`` has one number a dimension of the tensor at the site (output
    and accumulator of Conv2d: image, channel, row, column).

    ``effect``: ``flip`` inverts ``burst`` adjacent bits from ``bit`` up, counted from the least significant
    one (fp32: 31 sign, 30..23 exponent); ``random`` puts a random word in place of the number (of ``seed``);
    ``inf``, ``-inf``, ``nan``, and ``large`` (1e38, or the largest number of a narrower type) are stuck
    values.

    ``pattern`` says what else is hit besides ``index`` (n, m, position): ``element`` nothing; ``block``
    ``extent`` positions of the block (n, m); ``row`` the same positions in all channels of image n, as a
    fault in an input makes it; ``column`` in all images of channel m, as one in a kernel makes it; ``across``
    the ``extent`` blocks (n, m), (n+1, m+1), … at one position. Positions follow each other and wrap around.

    A transient fault strikes the layer's first call, a ``persistent`` one every call; what is stored (weight,
    Cw1, Cw2) stays damaged until the end of the injection or until it is repaired. ``storage``: which copy of
    a weight is hit where the model computes with another one than the parameter.

    A fault in an input spoils what this layer reads, and nothing else; a ``resident`` one spoils the feature
    map in memory, for all who read it from then on (in a protected layer: after its checksum was taken).

    What is None is drawn when the fault strikes. Raises UsageError for anything not named here.
    """

    layer: str
    site: Site = "weight"
    index: tuple[int, ...] | None = None
    bit: int | None = None
    persistent: bool = False
    effect: Effect = "flip"
    burst: int = 1
    pattern: Pattern = "element"
    extent: int = 1
    step: int | None = None
    seed: int | None = None
    storage: Storage = "both"
    resident: bool = False

    def __post_init__(self) -> None:
        check_word("fault site", self.site, SITES)
        check_word("effect of a fault", self.effect, get_args(Effect))
        check_word("pattern of a fault", self.pattern, get_args(Pattern))
        check_word("storage of a fault", self.storage, get_args(Storage))
        if self.index is not None:
            object.__setattr__(self, "index", tuple(int(i) for i in self.index))
        for name in ("bit", "step", "seed"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise UsageError(name, expected="an integer or None", got=repr(value))
        for name in ("burst", "extent"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} of a fault", expected="an integer of at least 1", got=repr(value))
        if self.resident and self.site != "input":
            raise UsageError("resident fault", expected="the site input", got=self.site)
        if self.effect != "flip" and (self.bit is not None or self.burst != 1):
            raise UsageError("bit of a fault", expected=f"none with the effect {self.effect!r}", got=self.bit)

    def to_dict(self) -> dict[str, Any]:
        """Layer, site and whatever is not as by default, as JSON values."""
        given = ((field, getattr(self, field.name)) for field in fields(self))
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field, value in given
            if field.name in ("layer", "site") or value != field.default
        }

    @classmethod
    def from_dict(cls, entry: Any) -> Fault:
        """What ``to_dict`` made. Raises UsageError for anything else."""
        known = [field.name for field in fields(cls)]
        if not isinstance(entry, Mapping) or "layer" not in entry or set(entry) - set(known):
            raise UsageError("fault", expected=f"layer and any of {', '.join(known)}", got=entry)
        return cls(**entry)


BitFlip = Fault
"""One flipped bit: ``BitFlip(layer, site, index, bit, persistent)``."""


def check_word(what: str, given: object, known: Iterable[str]) -> None:
    """Raise UsageError unless ``given`` is one of ``known``."""
    if given not in (words := tuple(known)):
        raise UsageError(what, expected=f"one of {', '.join(words)}", got=repr(given))


@dataclass(frozen=True)
class FaultedTrial:
    """The faults that struck in one trial of a campaign, and the number of the batch they met."""

    faults: tuple[Fault, ...]
    batch: int | None = None


def to_json(faults: Iterable[Fault | FaultedTrial]) -> str:
    """A fault list as JSON text; what struck in one trial of a campaign stays together."""
    lines = ",\n".join("  " + json.dumps(_entry(fault)) for fault in faults)
    return f'{{"schema": "{FORMAT}", "faults": [\n{lines}\n]}}\n'


def _entry(fault: Fault | FaultedTrial) -> Any:
    if isinstance(fault, Fault):
        return fault.to_dict()
    return {"batch": fault.batch, "faults": [each.to_dict() for each in fault.faults]}


def from_json(text: str) -> list[Fault]:
    """All faults of a fault list. Raises UsageError for anything else."""
    return [fault for trial in trials_from_json(text) for fault in trial.faults]


def trials_from_json(text: str) -> list[FaultedTrial]:
    """The trials of a fault list; a fault that stands alone is a trial of its own. Raises UsageError."""
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise UsageError("fault list", expected="JSON", got=str(error)) from error
    if not isinstance(document, dict) or document.get("schema") not in _READABLE:
        raise UsageError("fault list", expected=f'an object with "schema": "{FORMAT}"', got=text[:40])
    trials = []
    for entry in document.get("faults", []):
        together = isinstance(entry, dict) and "faults" in entry
        faults = entry["faults"] if together else [entry]
        batch = entry.get("batch") if together else None
        trials.append(FaultedTrial(tuple(map(Fault.from_dict, faults)), batch))
    return trials
