"""Where each map lies in the one block of memory that the exported C works in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Life:
    """A map of ``size`` floats, written in step ``first`` and read last in step ``last``."""

    size: int
    first: int
    last: int

    def meets(self, other: Life) -> bool:
        """Whether both are needed in one step."""
        return self.first <= other.last and other.first <= self.last


def place(lives: Sequence[Life]) -> tuple[list[int], int]:
    """Offsets at which no two maps that are needed at once overlap, and the size of the whole, in floats.

    The largest are placed first, each into the lowest gap that it fits (greedy by size: Pisarchyk and Lee,
    arXiv 2001.03288, algorithm 2).
    """
    offsets = [0] * len(lives)
    placed: list[int] = []
    for index in sorted(range(len(lives)), key=lambda i: (-lives[i].size, i)):
        life, at = lives[index], 0
        for other in sorted((i for i in placed if lives[i].meets(life)), key=lambda i: offsets[i]):
            if at + life.size <= offsets[other]:
                break
            at = max(at, offsets[other] + lives[other].size)
        offsets[index] = at
        placed.append(index)
    return offsets, max((at + life.size for at, life in zip(offsets, lives, strict=True)), default=0)
