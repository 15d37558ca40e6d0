"""Memory of one call of the fast path, kept for the next: carried sums, checksums, lists of positions."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from holdfast.kernels import BatchStats
from holdfast.kernels.native import CARRY_HEAD


class Buffer:
    """Numbers behind a head of CARRY_HEAD, in memory that grows when it is too small."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.memory = torch.empty(0, dtype=dtype)
        self.size = -1
        self.at = 0
        """Address of the head."""

    def reserve(self, count: int) -> int:
        """The address, with room for ``count`` numbers behind the head."""
        if self.size < count:
            with torch.inference_mode(False):  # it will be used outside as well
                self.memory = torch.empty(count + CARRY_HEAD, dtype=self.memory.dtype)
            self.size, self.at = count, self.memory.data_ptr()
        return self.at

    def values(self, count: int, dtype: torch.dtype) -> Tensor:
        """A view of the first ``count`` numbers of ``dtype`` behind the head."""
        return self.memory[CARRY_HEAD:].view(dtype)[:count]

    def total(self, shape: tuple[int, ...], n: int) -> Tensor:
        """A view of the sum of ``n`` images in a carry: float64, or float32 where n = 1."""
        dtype = torch.float32 if n == 1 else torch.float64
        return self.values(prod(shape), dtype).view(shape)

    @property
    def stats(self) -> BatchStats:
        """The head of a carry: the statistics of what was summed."""
        return BatchStats(*self.memory[:4].tolist())

    @stats.setter
    def stats(self, stats: BatchStats) -> None:
        self.memory[:4] = torch.tensor(stats, dtype=torch.float64)


class Workspace:
    """The buffers of one call; only one call at a time may use them.

    ``carries``: sums over the batch (a single image as it is), each (P, C)
    behind its statistics. ``check``: Co5 (P,) behind
    threshold, deviation and the number of non-finite positions. ``violated``: positions, no head.
    """

    def __init__(self, carries: int) -> None:
        self.carries = [Buffer(torch.float64) for _ in range(carries)]
        self.check = Buffer(torch.float64)
        self.violated = Buffer(torch.int64)
