"""Which channels of an input carry energy, and what one GeV is in them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

from holdfast.core.errors import UsageError

UnitGev = float | Sequence[float | None] | None
"""GeV that one input unit stands for, one value a channel; None: not an energy (time, a colour)."""

ValueRange = tuple[float | None, float | None]
"""Lowest and highest physical input value; None: no bound."""

GEV_DEFAULT = 0.05
"""Default size of a disturbance in GeV: the electronic noise of a CMS ECAL crystal (JINST 3 S08004)."""


def normalise_unit(unit_gev: UnitGev) -> tuple[float | None, ...] | None:
    """One unit a channel as a hashable tuple (a single number applies to every channel).

    Raises UsageError for a unit that is not a positive number, or if no channel has one.
    """
    if unit_gev is None:
        return None
    units = (unit_gev,) if isinstance(unit_gev, int | float) else tuple(unit_gev)
    if all(unit is None for unit in units):
        return None
    for unit in units:
        if unit is not None and not (isfinite(unit) and unit > 0):
            raise UsageError("unit_gev", expected="positive GeV per input unit, or None", got=unit)
    return units


def energy_channels(x: Tensor, unit_gev: tuple[float | None, ...] | None) -> Tensor:
    """1 for energy channels and 0 for others, shaped (1, C, 1, ...); all 1 where nothing is known."""
    return (gev_in_input_units(x, unit_gev) > 0).to(x.dtype) if unit_gev else torch.ones_like(x[:1, :1])


def gev_in_input_units(x: Tensor, unit_gev: tuple[float | None, ...] | None) -> Tensor:
    """One GeV in input units of ``x`` (N, C, ...), shaped (1, C, 1, ...); 0 where a channel is no energy.

    Raises UsageError if the units are unknown or their number is not C.
    """
    if unit_gev is None:
        raise UsageError(
            "size in GeV",
            expected="inputs that are energies, with unit_gev",
            got="inputs without a unit",
            remedy="give the size in input units",
        )
    channels = x.shape[1] if x.dim() > 1 else 1
    units = unit_gev * channels if len(unit_gev) == 1 else unit_gev
    if len(units) != channels:
        raise UsageError("unit_gev", expected=f"{channels} values, one a channel", got=len(units))
    scale = torch.tensor(
        [0.0 if unit is None else 1 / unit for unit in units], dtype=x.dtype, device=x.device
    )
    return scale.reshape(1, channels, *[1] * (x.dim() - 2))


def check_size(name: str, value: float) -> None:
    """Raise UsageError unless ``value`` is finite and not negative."""
    if not (isfinite(value) and value >= 0):
        raise UsageError(name, expected="a finite number >= 0", got=value)


def normalise_range(value_range: Sequence[float | None] | None, units: object) -> ValueRange:
    """The value range as a pair; by default energies are >= 0 and other inputs lie in [0, 1]."""
    if value_range is None:
        return (0.0, None) if units else (0.0, 1.0)
    if len(value_range) != 2:
        raise UsageError("value_range", expected="lowest and highest value", got=value_range)
    low, high = value_range
    if low is not None and high is not None and low >= high:
        raise UsageError("value_range", expected="lowest < highest", got=(low, high))
    return low, high
