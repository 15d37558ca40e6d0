"""How maps lie in memory where sparse layers read and write them.

A map is a row of positions: those of a row of the map follow each other, rows are ``row`` positions apart,
and the zero positions between rows serve as the padding on the right of one and on the left of the next.
Likewise the ``rows`` of an image and the next, and one channel and the next. There are two kinds. In *planes*
a position is one float, and the images of a batch follow each other in one plane a channel. In *lanes* a
position is the pixel of LANES images. Either way what a kernel entry meets is the whole plane, shifted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

LANES = 16
"""Floats of a cache line: what layouts are multiples of, and the images of a position in lanes."""

Kind = Literal["planes", "lanes"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """How a kernel moves over maps: sizes and steps are (vertical, horizontal), padding is on both sides."""

    kernel: Size = (1, 1)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)

    def output(self, size: Size) -> Size:
        """Height and width of the output for maps of ``size``."""
        high, wide = (
            (size[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i]
            + 1
            for i in (0, 1)
        )
        return high, wide

    def shift(self, axis: int, entry: int) -> int:
        """Where kernel entry ``entry`` is at the first output, in input positions."""
        return entry * self.dilation[axis] - self.padding[axis]

    def phases(self) -> list[Size]:
        """Which of every ``stride`` rows and columns the kernel meets."""
        found = [
            sorted({self.shift(axis, entry) % self.stride[axis] for entry in range(self.kernel[axis])})
            for axis in (0, 1)
        ]
        return [(y, x) for y in found[0] for x in found[1]]


@dataclass(frozen=True)
class Need:
    """What a layer needs of a map: positions from row to row, rows from image to image, zeros around.

    ``before`` and ``after``: how far it reads beyond the first and the last position, (rows, columns).
    """

    row: int
    rows: int
    before: Size = (0, 0)
    after: Size = (0, 0)


def need(window: Window, size: Size, kind: Kind) -> Need:
    """What ``window`` needs of its input: in planes of the phases that the input is taken apart into."""
    output, spans, before, after = window.output(size), [], [], []
    for axis in (0, 1):
        shifts = [window.shift(axis, entry) for entry in range(window.kernel[axis])]
        steps = window.stride[axis]
        if kind == "planes":
            shifts = [shift // steps for shift in shifts]
            long, last = _longest(window, size, axis), output[axis] - 1 + max(shifts)
        else:
            long, last = size[axis], (output[axis] - 1) * steps + max(shifts)
        spans.append(max(long - min(0, *shifts), last + 1, output[axis] if kind == "planes" else 1))
        before.append(max(0, -min(shifts)))
        after.append(max(0, max(shifts)))
    return Need(spans[1], spans[0], (before[0], before[1]), (after[0], after[1]))


def phase_size(window: Window, size: Size, phase: Size) -> Size:
    """Height and width of a phase of maps of ``size``, without what no kernel entry meets."""
    output = window.output(size)
    found = []
    for axis in (0, 1):
        shifts = [window.shift(axis, entry) for entry in range(window.kernel[axis])]
        last = max(shift // window.stride[axis] for shift in shifts) + output[axis]
        here = -(-(size[axis] - phase[axis]) // window.stride[axis])
        found.append(max(0, min(here, last)))
    return found[0], found[1]


def _longest(window: Window, size: Size, axis: int) -> int:
    return max(phase_size(window, size, phase)[axis] for phase in window.phases())


@dataclass(frozen=True)
class Layout:
    """Where maps (``images``, ``channels``, ``height``, ``width``) lie."""

    kind: Kind
    images: int
    channels: int
    height: int
    width: int
    row: int
    rows: int
    lead: int
    """Positions before the first."""
    tail: int
    """Positions behind the last that are read."""

    @classmethod
    def of(cls, kind: Kind, images: int, channels: int, size: Size, needs: Iterable[Need]) -> Layout:
        """The smallest layout for maps of ``size`` that has what each of ``needs`` needs."""
        needs = [Need(size[1], size[0]), *needs]
        row, rows = max(each.row for each in needs), max(each.rows for each in needs)
        lead = max(each.before[0] * row + each.before[1] for each in needs)
        tail = max(each.after[0] * row + each.after[1] for each in needs)
        return cls(kind, images, channels, *size, row, rows, lead, tail)

    def holding(self, channels: int) -> Layout:
        """The same for another number of channels."""
        return replace(self, channels=channels)

    @property
    def unit(self) -> int:
        """Floats of a position."""
        return 1 if self.kind == "planes" else LANES

    @property
    def count(self) -> int:
        """Positions from the first to the last of a channel."""
        images = self.images if self.kind == "planes" else 1
        return ((images - 1) * self.rows + self.height - 1) * self.row + self.width

    @cached_property
    def plane(self) -> int:
        """Floats from one channel to the next."""
        if self.kind == "lanes":
            return self.rows * self.row * LANES
        return _whole(max(self.count + max(self.lead, self.tail), _whole(self.count)))

    @property
    def start(self) -> int:
        """Floats before the first position."""
        return _whole(self.lead) * self.unit if self.kind == "planes" else self.lead * self.unit

    @property
    def floats(self) -> int:
        """Size of all, a multiple of LANES."""
        return _whole(self.start + self.channels * self.plane + (self.tail + LANES) * self.unit)

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Floats from one image, channel, row and column to the next."""
        image = self.rows * self.row if self.kind == "planes" else 1
        return image, self.plane, self.row * self.unit, self.unit

    def view(self, arena: Tensor, at: int) -> Tensor:
        """The maps at ``at`` in ``arena`` as a tensor (N, C, H, W)."""
        shape = (self.images, self.channels, self.height, self.width)
        return arena.as_strided(shape, self.strides, at + self.start)

    def inside(self) -> Tensor:
        """Int32, −1 at each position of a plane that belongs to a map, 0 at the others and behind them."""
        mask = torch.zeros(_whole(self.count) + LANES, dtype=torch.int32)
        shape, strides = (self.images, self.height, self.width), (self.rows * self.row, self.row, 1)
        mask.as_strided(shape, strides).fill_(-1)
        return mask


def _whole(count: int) -> int:
    return -(-count // LANES) * LANES
