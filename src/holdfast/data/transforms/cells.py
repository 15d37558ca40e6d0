"""Steps that choose cells or add them up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from holdfast.data.transforms.layout import Layout
from holdfast.data.transforms.step import Images, Step

Around = Literal["centre", "hottest"]


@dataclass(frozen=True)
class Crop(Step):
    """A square of ``size`` × ``size`` cells with the seed at [size // 2, size // 2].

    The seed is the cell [H // 2, W // 2] of the image ("centre"), or the largest value of ``channel``
    ("hottest", the first in row-major order if several are). Cells outside of the image are 0.
    """

    name: ClassVar[str] = "crop"
    size: int
    around: Around = "centre"
    channel: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 1:
            raise self._refuse("size >= 1", self.size)
        if self.around not in get_args(Around):
            raise self._refuse(f"around one of {', '.join(get_args(Around))}", self.around)
        if not isinstance(self.channel, int) or self.channel < 0:
            raise self._refuse("the number of a channel, from 0", self.channel)

    def apply(self, images: Images) -> Images:
        """Images (n, C, size, size)."""
        height, width = images.shape[2:]
        out = np.zeros((*images.shape[:2], self.size, self.size), dtype=np.float32)
        if self.around == "centre":
            _copy_window(images, out, height // 2, width // 2)
            return out
        hottest = images[:, self.channel].reshape(len(images), height * width).argmax(axis=1)
        for event, cell in enumerate(hottest):
            _copy_window(images[event], out[event], int(cell) // width, int(cell) % width)
        return out

    def outgoing(self, layout: Layout) -> Layout:
        """The new size."""
        if self.around == "hottest" and self.channel >= len(layout.channels):
            raise self._refuse(f"a channel below {len(layout.channels)}", self.channel)
        return replace(layout, height=self.size, width=self.size)


@dataclass(frozen=True)
class FoldCells(Step):
    """The sums of squares of ``k`` × ``k`` cells; ``k`` must divide height and width."""

    name: ClassVar[str] = "fold_cells"
    k: int

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise self._refuse("k >= 1", self.k)

    def apply(self, images: Images) -> Images:
        """Images (n, C, H / k, W / k)."""
        n, channels, height, width = images.shape
        squares = images.reshape(n, channels, height // self.k, self.k, width // self.k, self.k)
        folded: Images = squares.sum(axis=(3, 5), dtype=np.float32)
        return folded

    def outgoing(self, layout: Layout) -> Layout:
        """Height and width divided by k."""
        if layout.height % self.k or layout.width % self.k:
            raise self._refuse(f"k that divides {layout.height} and {layout.width}", self.k, "crop before")
        return replace(layout, height=layout.height // self.k, width=layout.width // self.k)


def _copy_window(source: Images, target: Images, row: int, column: int) -> None:
    """Copy the window of ``target``'s size around [row, column] as far as it lies in ``source`` (…, H, W)."""
    size, (height, width) = target.shape[-1], source.shape[-2:]
    top, left = row - size // 2, column - size // 2
    rows = slice(max(top, 0), min(top + size, height))
    columns = slice(max(left, 0), min(left + size, width))
    inside = source[..., rows, columns]
    target[..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
