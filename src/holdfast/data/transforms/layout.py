"""What images look like between two steps: channels with their units, height and width."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENERGY = re.compile(r"(?:([0-9.eE+-]+) )?([kMGT]?eV)")
_GEV = {"eV": 1e-9, "keV": 1e-6, "MeV": 1e-3, "GeV": 1.0, "TeV": 1e3}


@dataclass(frozen=True)
class Layout:
    """Names and units ("GeV", "50 GeV", "50 ns", "" for unknown) of the channels, and the size in cells."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (len(self.channels), self.height, self.width)

    @property
    def unit_gev(self) -> tuple[float | None, ...] | None:
        """GeV that 1 stands for in each channel (None: no energy), or None without any energy."""
        units = tuple(map(gev_of, self.units))
        return units if any(unit is not None for unit in units) else None


def gev_of(unit: str) -> float | None:
    """GeV that one of ``unit`` is ("50 GeV": 50), None for what is no energy."""
    found = _ENERGY.fullmatch(unit)
    try:
        return float(found[1] or 1) * _GEV[found[2]] if found else None
    except ValueError:
        return None


def rescaled(unit: str, factor: float) -> str:
    """The unit of values that were multiplied by ``factor``: "GeV" by 0.02 is "50 GeV"."""
    if not unit or factor == 1:
        return unit
    number, _, name = unit.rpartition(" ")
    try:
        return f"{float(number or 1) / factor:.9g} {name}".removeprefix("1 ")
    except ValueError:
        return f"{unit} / {factor:.9g}"
