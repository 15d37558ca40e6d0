"""Augmentations of detector images: mirror images and turns about the seed cell, and perturbations.

Rows are η, columns φ, and the seed is at [size // 2, size // 2]: the middle of an odd size, one past it in an
even one. Whatever a mirror image would take from beyond the edge reads zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from holdfast import stress
from holdfast.core.errors import UsageError
from holdfast.core.protocols import Stressor
from holdfast.training.augment import Augment, registry
from holdfast.training.symmetry import allow

PERTURBATIONS = ("gaussian_noise", "dead_channels", "masked_patches", "miscalibration")
"""Stressors that change inputs alone, each of which is an augmentation of its own name."""


def mirrored(x: Tensor, dim: int) -> Tensor:
    """``x`` (N, C, H, W) mirrored along ``dim`` about the seed cell: cell s + d comes from s − d."""
    turned = x.flip(dim)
    if x.shape[dim] % 2 == 0:
        turned = turned.roll(1, dim)
        turned.select(dim, 0).zero_()
    return turned


def turned(x: Tensor, quarters: int) -> Tensor:
    """``x`` (N, C, H, H) turned about the seed cell by ``quarters`` times 90°.

    A quarter takes the cell at (η, φ) = (d, e) from the seed to (e, −d).
    """
    for _ in range(quarters % 4):
        x = mirrored(x.transpose(2, 3), 3)
    return x


@dataclass(frozen=True)
class Flip:
    """A mirror image along ``dim`` (2: η, 3: φ) about the seed, of each image at even odds."""

    dim: int

    def __call__(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The batch, half of its images (N, C, H, W) mirrored."""
        chosen = torch.rand(len(x), generator=generator) < 0.5
        return torch.where(_columns(chosen, x), mirrored(x, self.dim), x), y


@dataclass(frozen=True)
class Quarters:
    """A turn by 0°, 90°, 180° or 270° about the seed, at even odds."""

    def __call__(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The batch, each image (N, C, H, H) turned. Raises UsageError for images that are not square."""
        if x.shape[2] != x.shape[3]:
            raise UsageError("augmentation 'rot90'", expected="square images", got=tuple(x.shape[2:]))
        quarters = torch.randint(4, (len(x),), generator=generator)
        turns = [turned(x, number) for number in range(4)]
        for number in (1, 2, 3):
            turns[0] = torch.where(_columns(quarters == number, x), turns[number], turns[0])
        return turns[0], y


@dataclass(frozen=True)
class Perturbed:
    """What ``stressor`` does to its inputs, in a ``share`` of the images: training under perturbation.

    The other images stay as they are, so that the model goes on seeing clean ones.
    """

    stressor: Stressor
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError("share of perturbed images", expected="a number in (0, 1]", got=self.share)

    def __call__(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The batch with some of its images perturbed."""
        chosen = torch.rand(len(x), generator=generator) < self.share
        with self.stressor.apply(_NONE, x, y, generator) as stressed:
            return torch.where(_columns(chosen, x), stressed.x, x), y


_NONE = nn.Identity()


def _columns(chosen: Tensor, x: Tensor) -> Tensor:
    return chosen.to(x.device)[:, None, None, None]


@registry.register("eta_flip")
def eta_flip(*, info: Any = None, unsafe: bool = False) -> Augment:
    """A mirror image in η, safe for all particles."""
    allow("eta_flip", info, unsafe=unsafe)
    return Flip(2)


@registry.register("phi_flip")
def phi_flip(*, info: Any = None, unsafe: bool = False) -> Augment:
    """A mirror image in φ; refused for charged particles."""
    allow("phi_flip", info, unsafe=unsafe)
    return Flip(3)


@registry.register("rot90")
def rot90(*, info: Any = None, unsafe: bool = False) -> Augment:
    """A turn by a multiple of 90°; refused for all but jets."""
    allow("rot90", info, unsafe=unsafe)
    return Quarters()


def _perturbed(name: str, *, info: Any = None, share: float = 0.5, **options: Any) -> Augment:
    """The stressor ``name`` with its own ``options``, in a ``share`` of the images."""
    return Perturbed(stress.create(name, info=info, **options), share)


for _name in PERTURBATIONS:
    registry.register(_name)(partial(_perturbed, _name))
