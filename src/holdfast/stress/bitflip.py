"""Bit flips: what a soft error does to one number, described so that it can be replayed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.protocols import SITES, Site

FORMAT = "holdfast.faults/1"


@dataclass(frozen=True)
class BitFlip:
    """One flipped bit of one element of a layer's ``weight``, ``input`` or ``output``.

    ``layer`` is the layer's name in the unprotected model. ``index`` has one number a dimension of the tensor
    at the site (output of Conv2d: image, channel, row, column); None: drawn uniformly when the fault strikes.
    ``bit`` counts from the least significant one (fp32: 31 sign, 30..23 exponent); None: drawn uniformly.
    A transient fault strikes the layer's first call, a ``persistent`` one every call; a weight stays damaged
    until the end of the injection either way. Raises UsageError for an unknown site or a malformed index.
    """

    layer: str
    site: Site = "weight"
    index: tuple[int, ...] | None = None
    bit: int | None = None
    persistent: bool = False

    def __post_init__(self) -> None:
        if self.site not in SITES:
            raise UsageError("fault site", expected=f"one of {', '.join(SITES)}", got=repr(self.site))
        if self.index is not None:
            object.__setattr__(self, "index", tuple(int(i) for i in self.index))
        if self.bit is not None and (isinstance(self.bit, bool) or not isinstance(self.bit, int)):
            raise UsageError("bit", expected="an integer or None", got=repr(self.bit))


def to_json(faults: Iterable[BitFlip]) -> str:
    """A fault list as JSON text, from which ``from_json`` makes equal faults."""
    return json.dumps({"schema": FORMAT, "faults": [asdict(fault) for fault in faults]}, indent=2)


def from_json(text: str) -> list[BitFlip]:
    """Read what ``to_json`` wrote. Raises UsageError for anything else."""
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise UsageError("fault list", expected="JSON", got=str(error)) from error
    if not isinstance(document, dict) or document.get("schema") != FORMAT:
        raise UsageError("fault list", expected=f'an object with "schema": "{FORMAT}"', got=text[:40])
    known = [field.name for field in fields(BitFlip)]
    faults = []
    for entry in document.get("faults", []):
        unknown = sorted(set(entry) - set(known))
        if unknown or "layer" not in entry:
            raise UsageError("fault", expected=f"layer and any of {', '.join(known)}", got=entry)
        faults.append(BitFlip(**entry))
    return faults
