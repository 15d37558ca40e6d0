"""Where the values of a program lie in its arena."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from holdfast.subnet.sparse.layout import Layout


@dataclass(frozen=True)
class Place:
    """A piece of the arena, ``at`` floats from its begin; ``use`` as it was taken for."""

    layout: Layout
    at: int
    use: Hashable = None

    @property
    def start(self) -> int:
        """Where the first position is, in floats from the begin of the arena."""
        return self.at + self.layout.start


class Arena:
    """Hands out places, and those given back again for the same layout and use.

    The positions between maps are zeros from the beginning, and no step writes anything else there: so a
    place serves only what is written to the same positions. ``use`` tells what the layout does not.
    """

    def __init__(self) -> None:
        self.floats = 0
        self._free: dict[tuple[Layout, Hashable], list[Place]] = defaultdict(list)

    def take(self, layout: Layout, use: Hashable = None) -> Place:
        """A place for maps in ``layout``."""
        free = self._free[layout, use]
        if free:
            return free.pop()
        place = Place(layout, self.floats, use)
        self.floats += layout.floats
        return place

    def give_back(self, place: Place) -> None:
        """Nobody reads what is in ``place`` any more."""
        self._free[place.layout, place.use].append(place)
