import numpy as np
import pytest
from scipy.integrate import dblquad

from holdfast.core import seeding
from holdfast.data.simulate import crystals, profile
from holdfast.data.simulate.parameters import ShowerParameters

P = ShowerParameters()


@pytest.mark.parametrize(("x", "y", "radius"), [(1.0, 1.0, 0.3), (2.5, -0.5, 1.0), (0.0, 3.0, 0.1)])
def test_corner_integral_equals_quadrature(x, y, radius):
    expected, _ = dblquad(lambda b, a: radius**2 / (np.pi * (a * a + b * b + radius**2) ** 2), 0, x, 0, y)
    assert crystals.corner_integral(x, y, radius) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("radius", [0.05, 0.3, 2.0])
def test_patch_shares_are_positive_and_below_one(radius):
    shares = crystals.patch_shares(0.3, -0.4, radius)
    assert shares.min() > 0
    outside = radius**2 / (radius**2 + (crystals.PATCH / 2 - 0.4) ** 2)
    assert 1 - outside < shares.sum() < 1
    assert np.allclose(shares, crystals.patch_shares(-0.3, 0.4, radius)[::-1, ::-1])


@pytest.mark.parametrize("row", [0, 11, 23])
def test_library_equals_a_shower_drawn_spot_by_spot(row):
    """The slow reference: depth from the Gamma profile, radius from the mixture at that depth."""
    energy, column, n = crystals._ENERGIES_GEV[5], 17, 400_000
    rng = seeding.generator(0, row)
    alpha = np.exp(profile.mean_log_alpha(np.array([energy]), P)[0])
    tau = rng.gamma(alpha, 1 / (alpha - 1), n)
    core, tail, share = profile.radial(tau, energy, P)
    u, angle = rng.random(n), rng.uniform(0, 2 * np.pi, n)
    radius = np.where(rng.random(n) < share, core, tail) * np.sqrt(u / (1 - u)) * P.moliere_cm / P.crystal_cm
    impact = (np.array([row, column]) + 0.5) / crystals._POSITIONS - 0.5
    edges = np.arange(crystals.PATCH + 1) - crystals.PATCH / 2
    spots, *_ = np.histogram2d(
        impact[0] + radius * np.sin(angle), impact[1] + radius * np.cos(angle), bins=[edges, edges]
    )
    table = crystals.library(P)[5, 2, row, column].reshape(crystals.PATCH, crystals.PATCH)
    assert table.sum() == pytest.approx(spots.sum() / n, abs=0.003)
    assert np.abs(table - spots / n).max() < 0.006


@pytest.mark.parametrize("n", [0, 1, 7])
def test_deposit_puts_every_shower_where_it_hits(n):
    rng = seeding.generator(1)
    energy = np.full(n, 60.0)
    where = np.arange(n)
    canvas = crystals.deposit(
        (n, 16, 64), where, energy, np.zeros(n, bool), np.full(n, 8.2), 20.0 + where, rng, P
    )
    assert canvas.shape == (n, 16, 64)
    for event in range(n):
        assert np.unravel_index(canvas[event].argmax(), (16, 64)) == (8, 20 + event)
        assert 0.9 * 60 < canvas[event].sum() < 60


def test_showers_that_leave_the_canvas_are_dropped():
    one, rng = np.ones(1), seeding.generator(2)
    canvas = crystals.deposit((1, 16, 64), np.zeros(1, int), 5 * one, one > 1, 8 * one, 62 * one, rng, P)
    assert canvas.sum() == 0


def test_lateral_fluctuations_are_those_of_the_number_of_spots():
    """A crystal with the share f of a shower of N spots fluctuates by sqrt(f (1 - f) / N)."""
    n, energy = 3000, 50.0
    rng = seeding.generator(6)
    full = np.full(n, energy)
    canvas = crystals.deposit(
        (n, 16, 64), np.arange(n), full, np.zeros(n, bool), full * 0 + 8, full * 0 + 32.01, rng, P
    )
    share = canvas[:, 8, 33] / canvas.sum(axis=(1, 2))
    f = share.mean()
    # The shape's own fluctuations (alpha) come on top.
    assert share.std() == pytest.approx(np.sqrt(f * (1 - f) / profile.spots(full[:1], P)[0]), rel=0.35)
