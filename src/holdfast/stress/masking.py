"""Detector cells that read nothing: dead channels, and whole patches."""

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
    shared: ClassVar[bool] = True

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


@stressors.register("masked_patches")
@dataclass(frozen=True)
class MaskedPatches:
    """``count`` squares of ``patch`` × ``patch`` cells read zero in every channel, anew in each image.

    The squares lie wholly inside of the image, anywhere and independently: they may overlap. Raises
    UsageError for a count below 0, a patch below 1, and for one that is larger than the images.
    """

    count: int = 1
    patch: int = 4
    name: str = "masked_patches"
    judged_by: ClassVar[str] = "quality"

    def __post_init__(self) -> None:
        for key, value, least in (("count", self.count, 0), ("patch", self.patch, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"masked_patches {key}", expected=f"an integer >= {least}", got=value)

    @property
    def labels(self) -> dict[str, Label]:
        """How many squares, and their side in cells."""
        return {"count": self.count, "patch": self.patch}

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the model with a masked copy of ``x`` (N, C, H, W)."""
        if x.dim() != 4 or min(x.shape[2:]) < self.patch:
            expected = f"images (N, C, H, W) of at least {self.patch}×{self.patch} cells"
            raise UsageError("masked_patches", expected=expected, got=tuple(x.shape))
        hidden = torch.zeros(len(x), *x.shape[2:], dtype=torch.bool)
        images = torch.arange(len(x))[:, None, None]
        side = torch.arange(self.patch)
        for _ in range(self.count):
            top, left = (
                torch.randint(size - self.patch + 1, (len(x), 1, 1), generator=generator)
                for size in x.shape[2:]
            )
            hidden[images, top + side[:, None], left + side] = True
        # Overwritten, not multiplied: a hidden cell that held NaN or Inf reads zero as well.
        yield Stressed(model, x.masked_fill(hidden[:, None].to(x.device), 0), y)
