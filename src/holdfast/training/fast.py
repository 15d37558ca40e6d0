"""Fast adversarial training: one step an image, from where the last one left its perturbation.

Each training image has one perturbation for the whole training, moved along when the image is cropped and
mirrored and moved back afterwards (ATTA, Zheng et al., CVPR 2020; "Fast" in Liu et al., NeurIPS 2022).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, distributed, nn
from torch.nn import functional

from holdfast import stress
from holdfast.core.errors import UsageError
from holdfast.training.adversarial import (
    ascend,
    attacked,
    ball_at,
    ball_of,
    check_radius_epochs,
    uniform,
)
from holdfast.training.moment import Moment
from holdfast.training.objectives import Objective, check_smoothing, registry

_LEVELS = 127


class Memory:
    """A perturbation of each of n images (C, H, W) in 1/127 of the radius: n · (C·H·W + 4) bytes.

    It lies on the device of the training, whole in every process, and in every checkpoint.
    """

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, images: int) -> None:
        """Forget everything; ``images`` images are to come."""
        self.images = images
        self.values: Tensor | None = None
        """(n, C, H, W) int8, in the frame of the image as the data set has it."""
        self.rounds: Tensor | None = None
        """(n,) int32: the round of each last perturbation; -1: there is none yet."""

    def read(self, index: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Perturbations of the images ``index`` (N,), int8 as ``x`` (N, C, H, W), and their rounds (N,)."""
        if self.values is None or self.rounds is None:
            self.values = torch.zeros(self.images, *x.shape[1:], dtype=torch.int8)
            self.rounds = torch.full((self.images,), -1, dtype=torch.int32)
        self.values, self.rounds = self.values.to(x.device), self.rounds.to(x.device)
        index = index.to(x.device)
        return self.values[index], self.rounds[index]

    def write(self, moment: Moment, values: Tensor, now: int) -> None:
        """Store the perturbations of this process's images, and those of the other processes' images.

        Every process tells the rest the rows that it has changed: the others add nothing to them.
        """
        assert self.values is not None
        assert self.rounds is not None
        assert moment.index is not None
        index = moment.index.to(values.device)
        if moment.processes > 1:
            rows = values.new_zeros(len(index), *values.shape[1:])
            rows[moment.rank :: moment.processes] = values
            distributed.all_reduce(rows)
            values = rows
        self.values[index] = values
        self.rounds[index] = now

    def state(self) -> dict[str, Tensor]:
        """Both tensors, or nothing before the first step."""
        if self.values is None or self.rounds is None:
            return {}
        return {"values": self.values, "rounds": self.rounds}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Remember what ``state`` returned."""
        self.values, self.rounds = state.get("values"), state.get("rounds")


@dataclass(frozen=True)
class Fast:
    """Cross-entropy of inputs one step of ``step`` times the radius further than at their last visit.

    An image that is seen for the first time, or for the first time in a round of ``reset_epochs`` epochs,
    starts uniformly within ``noise`` times the radius. Pixels that a crop leaves out keep their perturbation.
    Away from a training (``at``), every image counts as seen for the first time.
    """

    ball: stress.PGD
    step: float = 0.5
    noise: float = 1.0
    reset_epochs: int | None = None
    smoothing: float = 0.0
    radius_epochs: float = 0.0
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_smoothing(self.smoothing)
        check_radius_epochs(self.radius_epochs)
        if self.reset_epochs is not None and self.reset_epochs < 1:
            raise UsageError("reset_epochs", expected="an integer >= 1 or None", got=self.reset_epochs)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """Loss of images that are seen for the first time."""
        return self._loss(None, model, x, y, generator)

    def at(self, moment: Moment) -> Objective:
        """The objective of the images of ``moment``, which has their numbers."""
        return partial(self._loss, moment)

    def begin(self, images: int) -> None:
        """Forget all perturbations; ``images`` training images are to come."""
        self.memory.begin(images)

    def state(self) -> dict[str, Tensor]:
        """All perturbations."""
        return self.memory.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Remember what ``state`` returned."""
        self.memory.restore(state)

    def attack(
        self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator, moment: Moment | None = None
    ) -> Tensor:
        """The hostile inputs; those of a ``moment`` that numbers the images are remembered."""
        ball = self.ball if moment is None else ball_at(self.ball, self.radius_epochs, moment)
        radius, low, high = ball.ball(x)
        share = self.noise * uniform(x, generator)
        if moment is None or moment.index is None:
            return self._step(model, x, y, radius, share, low, high)
        before, fresh = self._before(moment, x)
        seen = before if moment.view is None else moment.view(before)
        share = torch.where(fresh, share, seen / _LEVELS)
        hostile = self._step(model, x, y, radius, share, low, high)
        share = torch.where(radius > 0, (hostile - x) / radius, 0)
        after = (_LEVELS * share).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
        if moment.view is not None:
            visible = moment.view.back(torch.ones_like(after)).bool()
            after = torch.where(visible, moment.view.back(after), before)
        self.memory.write(moment, after, self._round(moment))
        return hostile

    def _step(
        self, model: nn.Module, x: Tensor, y: Tensor, radius: Tensor, share: Tensor, low: Tensor, high: Tensor
    ) -> Tensor:
        """One step from ``share`` times the radius around ``x``."""
        start = torch.clamp(x + radius * share, low, high)
        with attacked(model) as inner:
            return ascend(inner, start, y, self.step * radius, low, high)

    def _before(self, moment: Moment, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last perturbations of ``x``, 0 where there are none, and where (N, 1, 1, 1) that is."""
        assert moment.index is not None
        values, rounds = self.memory.read(moment.index[moment.rank :: moment.processes], x)
        fresh = (rounds != self._round(moment))[:, None, None, None]
        return torch.where(fresh, torch.zeros_like(values), values), fresh

    def _round(self, moment: Moment) -> int:
        return 0 if self.reset_epochs is None else moment.epoch // self.reset_epochs

    def _loss(
        self, moment: Moment | None, model: nn.Module, x: Tensor, y: Tensor, generator: Generator
    ) -> Tensor:
        hostile = self.attack(model, x, y, generator, moment)
        return functional.cross_entropy(model(hostile), y, label_smoothing=self.smoothing)


@registry.register("fast")
def fast(
    *,
    info: Any = None,
    eps: float | None = None,
    eps_gev: float | None = None,
    step: float = 0.5,
    noise: float = 1.0,
    reset_epochs: int | None = None,
    smoothing: float = 0.0,
    radius_epochs: float = 0.0,
) -> Objective:
    """One step of ``step`` times the radius from a perturbation that each training image keeps."""
    return Fast(ball_of(info, eps, eps_gev), step, noise, reset_epochs, smoothing, radius_epochs)
