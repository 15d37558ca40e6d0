"""The kept weights of a layer as lists of what is added and what is subtracted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.subnet.sparse.layout import Layout, Size, Window


@dataclass(frozen=True)
class SparseWeights:
    """Weights ± ``scale`` of ``shape`` (M, C / groups, kernel height and width).

    For each kept weight, those of an output channel together and the positive ones first: ``channel`` of the
    input, ``entry`` (vertical, horizontal) of the kernel. Those of output channel m are ``start[2m]`` up to
    ``start[2m + 1]``, which are positive, and on to ``start[2m + 2]``. All int32 but ``scale``.
    """

    shape: tuple[int, int, int, int]
    groups: int
    scale: float
    start: NDArray[np.int32]
    channel: NDArray[np.int32]
    entry: NDArray[np.int32]

    @classmethod
    def of(cls, weight: Tensor, groups: int = 1) -> SparseWeights | None:
        """Those of ``weight`` (M, C / groups, R, S) or (M, K); None where they are not all of one size."""
        four = weight.detach().reshape(*weight.shape, *[1] * (4 - weight.dim()))
        scale = float(four.abs().max()) if four.numel() else 1.0
        if not bool(((four == 0) | (four.abs() == scale)).all()):
            return None
        kept = four != 0
        return cls.of_kept(kept.numpy(), (four[kept] > 0).numpy(), scale, groups)

    @classmethod
    def of_kept(
        cls, mask: NDArray[np.bool_], signs: NDArray[np.bool_], scale: float, groups: int = 1
    ) -> SparseWeights:
        """Those that ``mask`` (bool, a weight's shape) keeps; ``signs`` bool (kept,) in C order, True: +."""
        four = mask.reshape(*mask.shape, *[1] * (4 - mask.ndim))
        m, c, a, b = four.nonzero()
        negative = ~signs
        order = np.lexsort((b, a, c, negative, m))
        outputs, inputs = four.shape[:2]
        start = np.zeros(2 * outputs + 1, dtype=np.int32)
        np.cumsum(np.bincount(2 * m + negative, minlength=2 * outputs), out=start[1:])
        channel = (c + m // (outputs // groups) * inputs)[order].astype(np.int32)
        entry = np.stack([a, b], axis=1)[order].astype(np.int32)
        size = float(np.float32(scale)) or 1.0
        return cls(four.shape, groups, size, start, channel, entry)

    @property
    def kept(self) -> int:
        """How many there are."""
        return len(self.channel)

    @property
    def outputs(self) -> int:
        """M."""
        return self.shape[0]

    @cached_property
    def density(self) -> float:
        """Kept weights over all."""
        return self.kept / max(1, int(np.prod(self.shape)))

    def offsets(self, window: Window, layout: Layout, phases: list[Size]) -> NDArray[np.int32]:
        """Where each kept weight finds its input at the first output, in floats from the first position.

        In planes, ``layout`` holds the ``phases`` of each channel one after the other. Raises OverflowError
        where 32 bits are too few.
        """
        shift = self.entry * np.array(window.dilation) - np.array(window.padding)
        plane = self.channel.astype(np.int64)
        if layout.kind == "planes":
            stride = np.array(window.stride)
            rest = shift % stride
            shift = shift // stride
            number = np.full(stride.tolist(), -1)
            for index, (y, x) in enumerate(phases):
                number[y, x] = index
            plane = plane * len(phases) + number[rest[:, 0], rest[:, 1]]
        steps = np.array([layout.row * layout.unit, layout.unit])
        found: NDArray[np.int64] = plane * layout.plane + shift @ steps
        if found.size and np.abs(found).max() > np.iinfo(np.int32).max:
            raise OverflowError("offsets of a sparse layer beyond 32 bits")
        return found.astype(np.int32)

    def dense(self) -> Tensor:
        """Their signs, 0 where none is kept."""
        weight = torch.zeros(self.shape)
        m = np.repeat(np.arange(2 * self.outputs), np.diff(self.start))
        channel = self.channel % self.shape[1]
        values = torch.from_numpy(np.where(m % 2, -1.0, 1.0)).to(weight.dtype)
        weight[m // 2, channel, self.entry[:, 0], self.entry[:, 1]] = values
        return weight
