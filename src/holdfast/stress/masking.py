"""Dead detector channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Stressed
from holdfast.core.result import Label
from holdfast.stress.registry import stressors


@stressors.register("dead_channels")
@dataclass(frozen=True)
class DeadChannels:
    """Random cells read zero in every channel: one map a trial, the same for all images of the batch.

    ``rate`` in [0, 1] is the fraction of the H×W cells, rounded to whole cells. Raises UsageError otherwise.
    """

    rate: float = 0.01
    name: str = "dead_channels"
    judged_by: ClassVar[str] = "quality"

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise UsageError("dead_channels rate", expected="a fraction in [0, 1]", got=self.rate)

    @property
    def labels(self) -> dict[str, Label]:
        """The fraction of dead cells."""
        return {"rate": self.rate}

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with a masked copy of ``x`` (N, C, ...)."""
        if x.dim() < 3:
            raise UsageError("dead_channels", expected="inputs (N, C, cells...)", got=tuple(x.shape))
        cells = x.shape[2:].numel()
        dead = torch.randperm(cells, generator=generator)[: round(self.rate * cells)]
        masked = x.clone(memory_format=torch.contiguous_format)
        # Overwritten, not multiplied: a dead cell that held NaN or Inf reads zero as well.
        masked.flatten(2)[:, :, dead.to(x.device)] = 0
        yield Stressed(model, masked, y, {"dead_cells": len(dead)})
