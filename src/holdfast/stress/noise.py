"""Gaussian noise on detector readings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Stressed
from holdfast.core.result import Label
from holdfast.stress.channels import (
    GEV_DEFAULT,
    UnitGev,
    check_size,
    energy_channels,
    gev_in_input_units,
    normalise_range,
    normalise_unit,
)
from holdfast.stress.registry import stressors

_SIZES = ("sigma_gev", "sigma_fraction_of_max", "sigma_relative", "sigma_input")


@stressors.register("gaussian_noise")
@dataclass(frozen=True)
class GaussianNoise:
    """Independent normal noise on every cell of the energy channels; other channels stay as they are.

    Size, one of: ``sigma_gev`` (needs ``unit_gev``); ``sigma_fraction_of_max``, in units of the largest value
    of each image and channel; ``sigma_relative``, in units of each cell's own reading; ``sigma_input``, in
    units of the inputs themselves and on every channel, whatever it means: the N(0, 0.1) on normalised images
    that is common in the literature. By default 0.05 GeV where units are known, else 0.05 of the maximum.
    ``clip`` (off) cuts the result to ``value_range`` (lowest, highest; None: open), by default energies >= 0
    and other inputs in [0, 1]. Raises UsageError for several sizes, a negative one, or GeV without units.
    """

    sigma_gev: float | None = None
    sigma_fraction_of_max: float | None = None
    sigma_relative: float | None = None
    sigma_input: float | None = None
    unit_gev: UnitGev = None
    clip: bool = False
    value_range: Sequence[float | None] | None = None
    name: str = "gaussian_noise"
    judged_by: ClassVar[str] = "quality"

    def __post_init__(self) -> None:
        units = normalise_unit(self.unit_gev)
        object.__setattr__(self, "unit_gev", units)
        object.__setattr__(self, "value_range", normalise_range(self.value_range, units))
        given = [key for key in _SIZES if getattr(self, key) is not None]
        if len(given) > 1:
            raise UsageError("gaussian_noise", expected=f"one of {', '.join(_SIZES)}", got=", ".join(given))
        if not given:
            object.__setattr__(self, "sigma_gev" if units else "sigma_fraction_of_max", GEV_DEFAULT)
        for key, size in self.labels.items():
            check_size(key, float(size))

    @property
    def labels(self) -> dict[str, Label]:
        """The size of the noise."""
        return {key: size for key in _SIZES if (size := getattr(self, key)) is not None}

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with a noisy copy of ``x`` (N, C, ...)."""
        units = normalise_unit(self.unit_gev)
        if self.sigma_input is not None:
            sigma: Tensor | float = self.sigma_input
        elif self.sigma_gev is not None:
            sigma = self.sigma_gev * gev_in_input_units(x, units)
        elif self.sigma_relative is not None:
            sigma = self.sigma_relative * x.abs() * energy_channels(x, units)
        else:
            largest = x.flatten(2).amax(2) if x.dim() > 2 else x
            largest = largest.reshape(*largest.shape, *[1] * (x.dim() - largest.dim())).clamp(min=0)
            sigma = (self.sigma_fraction_of_max or 0.0) * largest * energy_channels(x, units)
        draw = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        noisy = x + sigma * draw
        if self.clip:
            low, high = normalise_range(self.value_range, units)
            cut = noisy.clamp(low, high)
            noisy = torch.where(energy_channels(x, units) > 0, cut, noisy)
        yield Stressed(model, noisy, y)
