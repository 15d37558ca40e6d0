"""Steps that choose channels or add them up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from holdfast.data.transforms.layout import Layout
from holdfast.data.transforms.step import Images, Step


@dataclass(frozen=True)
class Channels(Step):
    """The channels ``keep`` (numbers from 0), in that order."""

    name: ClassVar[str] = "channels"
    keep: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.keep or any(not isinstance(c, int) or c < 0 for c in self.keep):
            raise self._refuse("numbers of channels, from 0", self.keep)

    def apply(self, images: Images) -> Images:
        """Images (n, len(keep), H, W)."""
        return np.ascontiguousarray(images[:, list(self.keep)])

    def outgoing(self, layout: Layout) -> Layout:
        """The chosen names and units."""
        if max(self.keep) >= len(layout.channels):
            raise self._refuse(f"numbers below {len(layout.channels)}", self.keep)
        names, units = ([values[c] for c in self.keep] for values in (layout.channels, layout.units))
        return replace(layout, channels=tuple(names), units=tuple(units))


@dataclass(frozen=True)
class SumChannels(Step):
    """One channel: the sum of all, which must have one unit."""

    name: ClassVar[str] = "sum_channels"

    def apply(self, images: Images) -> Images:
        """Images (n, 1, H, W), added in the order of the channels."""
        total = images[:, :1].copy()
        for channel in range(1, images.shape[1]):
            total += images[:, channel : channel + 1]
        return total

    def outgoing(self, layout: Layout) -> Layout:
        """One channel, named after all."""
        if len(set(layout.units)) > 1:
            raise self._refuse("channels of one unit", layout.units, "scale or choose channels before")
        return replace(layout, channels=("+".join(layout.channels),), units=layout.units[:1])
