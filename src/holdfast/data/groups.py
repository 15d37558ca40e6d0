"""All images of one shape, by class: what a survey counts of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.data.quantities import image_quantities
from holdfast.data.statistics import Counts, ImageMoments, Spectrum

CLASSES = 10
OTHER, UNLABELLED = "other", "all"
Columns = dict[str, NDArray[Any]]


@dataclass
class Class:
    """The events of one label: cell values by channel, images, and one number an event by its name."""

    images: ImageMoments
    cells: list[Spectrum]
    quantities: dict[str, Spectrum] = field(default_factory=dict)
    events: int = 0
    empty: int = 0

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Class:
        """Nothing counted yet of images (C, H, W)."""
        return cls(ImageMoments(shape), [Spectrum() for _ in range(shape[0])])

    def add(self, images: NDArray[np.float32], quantities: Columns) -> None:
        """Count ``images`` (n, C, H, W) and numbers (n,)."""
        self.events += len(images)
        self.empty += int((~images.any(axis=(1, 2, 3))).sum())
        self.images.add(images)
        for channel, cells in enumerate(self.cells):
            cells.add(images[:, channel])
        for name, values in quantities.items():
            self.quantities.setdefault(name, Spectrum()).add(values)

    def merge(self, other: Class) -> None:
        """Add what ``other`` has counted."""
        self.events, self.empty = self.events + other.events, self.empty + other.empty
        self.images.merge(other.images)
        for mine, theirs in zip(self.cells, other.cells, strict=True):
            mine.merge(theirs)
        for name, theirs in other.quantities.items():
            self.quantities.setdefault(name, Spectrum()).merge(theirs)


@dataclass
class Group:
    """All events of one shape (C, H, W), channel names and units: by class, and where the hottest cells are.

    ``classes`` are keyed by label: "0" to "9" apart, others together as "other", "all" where there is no
    label; ``names`` are what the files say that 0, 1, … mean. ``seeds`` (C, H, W) counts images by their
    largest value's place; images without a positive value are left out.
    """

    channels: tuple[str, ...]
    units: tuple[str, ...]
    shape: tuple[int, ...]
    seeds: Counts
    classes: dict[str, Class] = field(default_factory=dict)
    names: set[tuple[str, ...]] = field(default_factory=set)
    files: set[int] = field(default_factory=set)
    simulated: int = 0

    @property
    def events(self) -> int:
        """Events of all classes."""
        return sum(found.events for found in self.classes.values())

    def add(self, images: NDArray[np.float32], labels: NDArray[np.int64] | None, columns: Columns) -> None:
        """Count ``images`` (n, C, H, W) with ``labels`` (n,) and scalar ``columns`` (n,)."""
        quantities, seeds = image_quantities(images, self.channels)
        quantities |= columns
        for channel, places in enumerate(seeds):
            counts = np.bincount(places[places >= 0], minlength=self.seeds[channel].size)
            self.seeds[channel] += counts.reshape(self.shape[1:])
        if labels is None:
            self._class(UNLABELLED).add(images, quantities)
            return
        inside = (labels >= 0) & (labels < CLASSES)
        slots = np.where(inside, labels, -1)
        for slot in np.unique(slots):
            at = slots == slot
            chosen = images if at.all() else images[at]
            self._class(str(slot) if slot >= 0 else OTHER).add(
                chosen, {name: values[at] for name, values in quantities.items()}
            )

    def merge(self, other: Group) -> None:
        """Add what ``other`` has counted."""
        self.seeds += other.seeds
        self.names |= other.names
        self.files |= other.files
        self.simulated += other.simulated
        for label, theirs in other.classes.items():
            self._class(label).merge(theirs)

    def _class(self, label: str) -> Class:
        return self.classes.setdefault(label, Class.of(self.shape))
