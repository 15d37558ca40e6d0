"""What an objective may know of the moment in which a batch comes, and what it may remember."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from holdfast.training.augment import View
from holdfast.training.objectives import Objective


@dataclass(frozen=True)
class Moment:
    """``step`` steps of training are done, ``steps_per_epoch`` make an epoch.

    ``index`` (B,) int64 numbers the images of the whole batch within the training split, of which process
    ``rank`` of ``processes`` has every ``processes``-th, from its rank on; None unless the objective
    remembers images. ``view`` is how an augmentation has moved the images of this process, if it has.
    """

    step: int
    steps_per_epoch: int
    index: Tensor | None = None
    rank: int = 0
    processes: int = 1
    view: View | None = None

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""
        return self.step // self.steps_per_epoch

    def ramp(self, epochs: float) -> float:
        """How far, in (0, 1], a linear rise over the first ``epochs`` epochs is."""
        return min(1.0, (self.step + 1) / (epochs * self.steps_per_epoch)) if epochs else 1.0


@runtime_checkable
class Timed(Protocol):
    """An objective that depends on the moment."""

    def at(self, moment: Moment) -> Objective:
        """The objective of this moment."""


@runtime_checkable
class Remembering(Protocol):
    """An objective that remembers something of each training image, which belongs into checkpoints."""

    def begin(self, images: int) -> None:
        """Forget everything; ``images`` training images are to come."""

    def state(self) -> dict[str, Tensor]:
        """All that is remembered."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Remember what ``state`` returned."""
