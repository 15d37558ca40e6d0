import numpy as np
import pytest

from holdfast.core import seeding
from holdfast.data.simulate import profile
from holdfast.data.simulate.parameters import ShowerParameters

P = ShowerParameters()


def test_longitudinal_fluctuations():
    """ln T and ln alpha of 50 GeV showers average to the parametrisation."""
    energy = np.full(100_000, 50.0)
    depth, alpha = profile.draw_longitudinal(energy, seeding.generator(3), P)
    y = 50 / P.critical_gev
    assert np.log(depth).mean() == pytest.approx(np.log(np.log(y) - 0.812), abs=0.002)
    assert np.log(alpha).mean() == pytest.approx(profile.mean_log_alpha(energy[:1], P)[0], abs=0.003)
    rho = np.corrcoef(np.log(depth), np.log(alpha))[0, 1]
    assert rho == pytest.approx(0.705 - 0.023 * np.log(y), abs=0.01)


def test_the_mean_depth_is_that_of_the_drawn_profiles():
    """A Gamma density of shape alpha and scale T / (alpha - 1) has its mean at T alpha / (alpha - 1)."""
    energy = np.full(20_000, 50.0)
    depth, alpha = profile.draw_longitudinal(energy, seeding.generator(5), P)
    drawn = np.median(depth * alpha / (alpha - 1))
    assert profile.mean_depth(energy[:1], P)[0] == pytest.approx(drawn, rel=0.02)
    assert 8 < drawn < 11


@pytest.mark.parametrize("energy", [0.1, 1.0, 50.0, 90.0])
def test_any_energy_gives_a_shower(energy):
    depth, alpha = profile.draw_longitudinal(np.full(10_000, energy), seeding.generator(4), P)
    assert np.isfinite(depth).all()
    assert depth.min() > 0
    assert alpha.min() > 1


@pytest.mark.parametrize("energy", [1.0, 50.0])
def test_radial_profile_widens_with_depth(energy):
    tau = np.linspace(0.1, 3, 30)
    core, tail, share = profile.radial(tau, energy, P)
    assert np.all(np.diff(core) > 0)
    assert np.all(core < tail)
    assert np.all((share >= 0) & (share <= 1))
    assert share[tau > 0.3].max() > 0.5


def test_radial_values_of_the_published_set():
    """At tau = 1, E = 50 GeV, Z = 68.4, worked out by hand from the formulas."""
    core, tail, share = profile.radial(np.array([1.0]), 50.0, P)
    assert core[0] == pytest.approx(0.12772, abs=1e-4)
    assert tail[0] == pytest.approx(0.71799, abs=1e-3)
    assert share[0] == pytest.approx(0.86505, abs=1e-4)
