"""What the exported C does: a few kinds of steps over the maps of one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Activation = Literal["none", "relu", "relu6"]
Windows = list[tuple[int, int]]
"""For each output row (column) the first row of the input that it sees, and the one after the last."""


@dataclass(eq=False)
class Maps:
    """``channels`` planes of ``height`` × ``width`` float32, with ``pad`` rows and columns of zeros around.

    Neighbours share their zeros: a row ends where the next one's left zeros begin, a plane where the next
    one's upper zeros begin. So a plane of 28 × 28 padded by 1 takes 29 × 29 floats, not 30 × 30.
    """

    channels: int
    height: int
    width: int
    pad: tuple[int, int] = (0, 0)

    @property
    def row(self) -> int:
        """Floats from one row to the next."""
        return self.width + self.pad[1]

    @property
    def plane(self) -> int:
        """Floats from one channel to the next."""
        return (self.height + self.pad[0]) * self.row

    @property
    def origin(self) -> int:
        """Where the first pixel lies."""
        return self.pad[0] * self.row + self.pad[1]

    @property
    def floats(self) -> int:
        """Size of all."""
        return self.origin + self.channels * self.plane

    @property
    def pixels(self) -> int:
        """Floats without the zeros."""
        return self.channels * self.height * self.width


@dataclass(eq=False)
class Step:
    """Makes ``out`` from ``source`` (None: the image)."""

    out: Maps
    source: Maps | None
    title: str


@dataclass(frozen=True)
class Statistics:
    """(factor · x − mean) / √(deviation² + eps), mean and deviation (C,) as the bits of float16."""

    mean: NDArray[np.uint16]
    deviation: NDArray[np.uint16]
    eps: float
    factor: float


@dataclass(eq=False)
class Pointwise(Step):
    """y = activation(scale · x + shift + residual), scale and shift (C,) of each channel, None for 1 and 0.

    With ``compress`` x is InputScaling's square root first. Where a single norm without affine parameters is
    all that scale and shift do, ``statistics`` are its own.
    """

    scale: NDArray[np.float64] | None = None
    shift: NDArray[np.float64] | None = None
    residual: Maps | None = None
    activation: Activation = "none"
    compress: bool = False
    statistics: Statistics | None = None


@dataclass(eq=False)
class Product(Pointwise):
    """Pointwise over the sums of a convolution with weights ±1; a Linear is one whose kernel is the map.

    ``mask`` bool (M, C/groups, KH, KW), ``signs`` bool (kept,) in its C order, True for +1; ``key`` of the
    signs' generator (``subnet.signs.words``), or None where they are none of its.
    """

    mask: NDArray[np.bool_] = field(kw_only=True)
    signs: NDArray[np.bool_] = field(kw_only=True)
    key: int | None = None
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(eq=False)
class Pool(Step):
    """The maximum or mean over ``rows`` × ``columns`` of each channel."""

    kind: Literal["max", "mean"]
    rows: Windows
    columns: Windows
