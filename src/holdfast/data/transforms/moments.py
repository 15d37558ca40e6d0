"""Mean and standard deviation of each channel, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Number of cells, mean (C,) and sum of squared deviations (C,) float64, which can be merged.

    After Chan, Golub and LeVeque (1983): no cancellation however large the mean.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, images: NDArray[np.float32]) -> Moments:
        """Those of images (n, C, H, W)."""
        count = images.shape[0] * images.shape[2] * images.shape[3]
        mean = images.sum(axis=(0, 2, 3), dtype=np.float64) / max(count, 1)
        squares = np.zeros(images.shape[1])
        for image in images:  # one at a time: the deviations in float64 would double the memory
            squares += np.square(image - mean[:, None, None]).sum(axis=(1, 2))
        return cls(count, mean, squares)

    def merged(self, other: Moments) -> Moments:
        """Those of both."""
        count = self.count + other.count
        if not count:
            return self
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        squares = self.squares + other.squares + step**2 * (self.count * other.count / count)
        return Moments(count, mean, squares)

    @property
    def std(self) -> NDArray[np.float64]:
        """The standard deviation (C,) of all cells seen."""
        deviation: NDArray[np.float64] = np.sqrt(self.squares / max(self.count, 1))
        return deviation
