"""No harm at all: what a protected model reports then is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from holdfast.core.protocols import Stressed
from holdfast.stress.registry import stressors


@stressors.register("none")
@dataclass(frozen=True)
class Nothing:
    """Clean runs, for the false-alarm rate of a protected model."""

    name: str = "none"
    judged_by: ClassVar[str] = "alarms"

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield model and batch as they are."""
        yield Stressed(model, x, y)
