"""Random crops and mirror images as drawn numbers, so that what was learned of a view can be carried back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry
from holdfast.training.named import make

Augment = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
"""Takes (x, y, a CPU generator for every draw); returns a changed batch of the same size."""

registry: Registry[Callable[..., Augment]] = Registry("augmentation", "augmentations")


def create(name: str, *, info: Any = None, **options: Any) -> Augment:
    """Make the augmentation ``name`` for the data that ``info`` describes. Raises UsageError."""
    return make(registry, name, options, info=info)


def create_all(
    names: Sequence[str], *, info: Any = None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> Augment | None:
    """Make the augmentations ``names``, one after the other, each with its own of the ``options`` by name.

    None for no names. Raises UsageError, also for options of an augmentation that is not among ``names``.
    """
    options = options or {}
    if unused := sorted(set(options) - set(names)):
        expected = f"options of {', '.join(names) or 'no augmentation'}"
        raise UsageError("options of augmentations", expected=expected, got=", ".join(unused))
    made = tuple(create(name, info=info, **options.get(name, {})) for name in names)
    return made[0] if len(made) == 1 else Sequential(made) if made else None


@dataclass(frozen=True)
class Sequential:
    """Augmentations one after the other."""

    steps: tuple[Augment, ...]

    def __call__(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The batch after all of them."""
        for step in self.steps:
            x, y = step(x, y, generator)
        return x, y


@dataclass(frozen=True, eq=False)
class View:
    """Image n moved by (``down[n]``, ``right[n]``) pixels, with zeros coming in, then mirrored left to right
    where ``mirrored[n]``.

    ``down``, ``right`` (N,) int64, ``mirrored`` (N,) bool. Linear, and a permutation of the pixels that stay
    in sight; any dtype, on any device.
    """

    down: Tensor
    right: Tensor
    mirrored: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The view of ``x`` (N, C, H, W)."""
        down, right, mirrored = self._columns(x)
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape[2:])
        columns = torch.where(mirrored, x.shape[3] - 1 - columns, columns)
        return _read(x, rows - down, columns - right)

    def back(self, x: Tensor) -> Tensor:
        """The adjoint: pixels of the view ``x`` (N, C, H, W) in their places in the image, 0 elsewhere."""
        down, right, mirrored = self._columns(x)
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape[2:])
        columns = columns + right
        return _read(x, rows + down, torch.where(mirrored, x.shape[3] - 1 - columns, columns))

    def _columns(self, x: Tensor) -> list[Tensor]:
        return [drawn.to(x.device)[:, None] for drawn in (self.down, self.right, self.mirrored)]


def _read(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels of ``x`` at ``rows`` (N, H) and ``columns`` (N, W), 0 where these are outside."""
    height, width = x.shape[2:]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None]
    inside = inside & ((columns >= 0) & (columns < width))[:, None, None, :]
    rows = rows.clamp(0, height - 1)[:, None, :, None].expand(x.shape)
    columns = columns.clamp(0, width - 1)[:, None, None, :].expand(x.shape)
    return torch.where(inside, x.gather(2, rows).gather(3, columns), torch.zeros_like(x[:1, :1, :1, :1]))


@runtime_checkable
class Geometric(Protocol):
    """An augmentation that moves pixels and changes none."""

    def draw(self, images: int, generator: Generator) -> View:
        """The view of each of ``images`` images."""


@dataclass(frozen=True)
class CropFlip:
    """A random crop after padding with ``pad`` zeros on all sides, and with ``flip`` a mirror image at even
    odds (He et al., CVPR 2016, section 4.2)."""

    pad: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise UsageError("padding of the crop", expected="an integer >= 0", got=self.pad)

    def draw(self, images: int, generator: Generator) -> View:
        """Shifts uniform in ±``pad``, and the mirror images."""
        down, right = torch.randint(-self.pad, self.pad + 1, (2, images), generator=generator)
        mirrored = torch.rand(images, generator=generator) < (0.5 if self.flip else 0.0)
        return View(down, right, mirrored)

    def __call__(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The batch with each image (N, C, H, W) seen in a view of its own."""
        return self.draw(len(x), generator)(x), y


registry.register("crop_flip")(CropFlip)


@registry.register("crop")
def crop(*, pad: int = 4) -> Augment:
    """A random crop alone, for what must not be mirrored (digits)."""
    return CropFlip(pad, flip=False)
