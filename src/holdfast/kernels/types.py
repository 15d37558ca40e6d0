"""What the kernels take and give besides tensors."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple


class BatchStats(NamedTuple):
    """Statistics of a batch x (N, ...) and of its sum over N, both in float64.

    ``max_abs`` = max |x|, ``sum_squares`` = Σ x², ``total_max_abs`` and ``total_squares`` the same of
    Σ_n x_n. Where x is not finite, ``sum_squares`` is not either and the maxima say nothing.
    """

    max_abs: float
    sum_squares: float
    total_max_abs: float
    total_squares: float

    @property
    def finite(self) -> bool:
        """Whether every element of the batch is finite."""
        return isfinite(self.sum_squares)


class Verdict(NamedTuple):
    """What a comparison of sums with checksums found, counted in positions.

    ``violations`` includes the ``nonfinite`` ones; ``deviation`` is the largest |S5 − Co5|, +Inf where a
    sum is not finite; ``first`` is the flat index of the first violation, −1 where there is none.
    """

    violations: int
    nonfinite: int
    deviation: float
    first: int


@dataclass(frozen=True)
class Window:
    """How a kernel moves over a map: stride and dilation (vertical, horizontal), zero padding.

    ``padding`` is (left, right, top, bottom), the order of ``torch.nn.functional.pad``.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output_size(self, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for an input of ``size`` and a ``kernel`` (height, width)."""
        left, right, top, bottom = self.padding
        padded = (size[0] + top + bottom, size[1] + left + right)
        high, wide = (
            (padded[i] - self.dilation[i] * (kernel[i] - 1) - 1) // self.stride[i] + 1 for i in (0, 1)
        )
        return high, wide
