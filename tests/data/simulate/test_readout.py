import numpy as np
import pytest

from holdfast.core import seeding
from holdfast.data.simulate import readout
from holdfast.data.simulate.parameters import ShowerParameters

QUIET = ShowerParameters(noise_gev=1e-6, stochastic_sqrt_gev=0.0, constant_fraction=0.0, energy_scale=1.0)


def canvas(*hits):
    deposits = np.zeros((1, 16, 64))
    for row, column, gev in hits:
        deposits[0, row, column] = gev
    return deposits


@pytest.mark.parametrize("where", [(0, 0), (8, 32), (15, 63)], ids=str)
def test_the_hottest_crystal_goes_to_16_16_also_at_the_edge(where):
    image = readout.measure(canvas((*where, 25.0)), seeding.generator(0), QUIET)
    assert image.shape == (1, 32, 32, 2)
    assert image.dtype == np.float32
    assert image[0, 16, 16, 0] == pytest.approx(0.5, rel=1e-5)
    assert (image[0, :, :, 0] > 1e-6).sum() == 1


def test_neighbours_keep_their_place():
    image = readout.measure(canvas((8, 30, 25.0), (7, 35, 5.0)), seeding.generator(1), QUIET)
    assert image[0, 15, 21, 0] == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (2, 2), (0, 1)])
def test_only_crystals_around_hits_and_above_the_threshold_are_read(rows, columns):
    p = ShowerParameters(noise_gev=0.02, zero_suppression_gev=0.2, readout_rows=rows, readout_columns=columns)
    image = readout.measure(np.repeat(canvas((8, 32, 30.0)), 200, axis=0), seeding.generator(2), p)
    read = image[..., 0] > 0
    near = np.zeros((32, 32), dtype=bool)
    near[16 - rows : 17 + rows, 16 - columns : 17 + columns] = True
    assert not read[:, ~near].any()
    # Half of the noise is negative and not kept.
    near[16, 16] = False
    assert read[:, near].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("gev", [5.0, 50.0])
def test_energy_resolution(gev):
    p = ShowerParameters(energy_scale=1.0)
    image = readout.measure(np.repeat(canvas((8, 32, gev)), 4000, axis=0), seeding.generator(3), p)
    measured = image[:, 16, 16, 0] * 50
    expected = np.sqrt(p.noise_gev**2 + p.stochastic_sqrt_gev**2 * gev + (p.constant_fraction * gev) ** 2)
    assert measured.mean() == pytest.approx(gev, abs=5 * expected / np.sqrt(4000))
    assert measured.std() == pytest.approx(expected, rel=0.06)


def test_time_resolution_falls_with_energy():
    p = ShowerParameters()
    widths = []
    for gev in (1.0, 10.0, 50.0):
        image = readout.measure(np.repeat(canvas((8, 32, gev)), 3000, axis=0), seeding.generator(4), p)
        widths.append(50 * image[:, 16, 16, 1].std())
        expected = np.hypot(
            np.hypot(p.time_noise_ns * p.noise_gev / gev, p.time_constant_ns), p.time_jitter_ns
        )
        assert widths[-1] == pytest.approx(expected, rel=0.08)
    assert widths == sorted(widths, reverse=True)
