"""One number an image, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.data.quantities import hottest, image_quantities, width
from holdfast.data.schema import phi_width


def showers(n: int, size: int = 9) -> np.ndarray:
    images = np.random.default_rng(0).exponential(1, (n, 2, size, size)).astype(np.float32)
    images *= np.random.default_rng(1).random(images.shape) < 0.4
    return images


def slow_width(image: np.ndarray, axis: int) -> float:
    """Second moment about the largest cell, over the five lines around it."""
    row, column = np.unravel_index(image.argmax(), image.shape)
    total = moment = 0.0
    for i, j in np.ndindex(image.shape):
        across, along = (i - row, j - column) if axis == 1 else (j - column, i - row)
        if abs(across) <= 2:
            total += float(image[i, j])
            moment += float(image[i, j]) * along**2
    return moment / total


def test_quantities_are_those_of_loops():
    images = showers(12)
    found, seeds = image_quantities(images, ("energy", "time"))
    for n, (energy, time) in enumerate(images):
        assert found["energy: sum"][n] == pytest.approx(energy.sum(dtype=float))
        assert found["energy: cells hit"][n] == np.count_nonzero(energy)
        assert found["energy: largest value"][n] == energy.max()
        assert found["energy: phi width"][n] == pytest.approx(slow_width(energy, 1), rel=1e-6)
        assert found["energy: eta width"][n] == pytest.approx(slow_width(energy, 0), rel=1e-6)
        assert seeds[0][n] == energy.argmax()
        assert found["time: at the hottest cell"][n] == time.ravel()[energy.argmax()]
    assert "time: phi width" not in found


def test_the_width_of_a_centred_image_is_the_schemas():
    images = showers(5, 32)[:, 0]
    images[:, 16, 16] = 50
    seed = hottest(images)
    assert (seed == 16 * 32 + 16).all()
    assert np.allclose(width(images, seed), phi_width(images.astype(np.float64)), rtol=1e-6)


def test_images_without_a_hottest_cell_have_no_width():
    images = np.zeros((3, 2, 4, 4), dtype=np.float32)
    images[1, 0] = -1
    images[2, 0, 1, 2], images[2, 0, 0, 0] = 1, np.nan
    found, seeds = image_quantities(images, ("energy", "time"))
    assert seeds[0].tolist() == [-1, -1, 6]
    assert np.isnan(found["energy: phi width"][:2]).all()
    assert np.isnan(found["time: at the hottest cell"][:2]).all()
