"""Miscalibration: readings that are off by a factor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Stressed
from holdfast.core.result import Label
from holdfast.stress.channels import UnitGev, check_size, energy_channels, normalise_unit
from holdfast.stress.registry import stressors


@stressors.register("miscalibration")
@dataclass(frozen=True)
class Miscalibration:
    """Every cell of the energy channels multiplied by a gain; other channels stay as they are.

    Gain = ``scale`` · exp(``spread`` · z), z standard normal, drawn for each channel and cell once a trial:
    the same detector for all images of the batch. Log-normal, so that a gain is never negative; for small
    ``spread`` that is the relative spread of the cells. ``scale`` is one factor for all, such as a shifted
    energy scale. Raises UsageError for a negative spread and for a scale that is not positive.
    """

    spread: float = 0.05
    scale: float = 1.0
    unit_gev: UnitGev = None
    name: str = "miscalibration"
    judged_by: ClassVar[str] = "quality"

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit_gev", normalise_unit(self.unit_gev))
        check_size("spread of miscalibration", self.spread)
        if not (isfinite(self.scale) and self.scale > 0):
            raise UsageError("scale of miscalibration", expected="a finite number > 0", got=self.scale)

    @property
    def shared(self) -> bool:
        """Whether anything is drawn, which all images of a batch then share."""
        return self.spread > 0

    @property
    def labels(self) -> dict[str, Label]:
        """Spread of the gains, and the factor that they have in common."""
        return {"spread": self.spread, "scale": self.scale}

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with a miscalibrated copy of ``x`` (N, C, ...)."""
        draw = torch.randn(1, *x.shape[1:], generator=generator, dtype=x.dtype).to(x.device)
        gain = self.scale * torch.exp(self.spread * draw)
        energy = energy_channels(x, normalise_unit(self.unit_gev)) > 0
        yield Stressed(model, torch.where(energy, x * gain, x), y)
