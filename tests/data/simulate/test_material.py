import numpy as np
import pytest

from holdfast.core import seeding
from holdfast.data.simulate import material
from holdfast.data.simulate.parameters import ShowerParameters

P = ShowerParameters()


def primaries(n: int, bend: float, energy_gev: float = 50.0) -> material.Particles:
    zeros = np.zeros(n)
    return material.Particles(np.arange(n), zeros + bend, zeros + energy_gev, zeros, zeros, zeros)


@pytest.mark.parametrize("eta", [0.0, 1.0, 1.479])
def test_electrons_lose_what_the_thickness_says(eta):
    n = 20_000
    arrived = material.propagate(
        primaries(n, 1.0, 50 * np.cosh(eta)),
        np.full(n, eta),
        seeding.generator(0, eta),
        ShowerParameters(generations=1),
    )
    kept = np.zeros(n)
    charged = arrived.bend > 0
    np.maximum.at(kept, arrived.event[charged], arrived.energy_gev[charged])
    expected = np.exp(-material.tracker_x0(np.array([eta]), P)[0])
    # One generation, so that no charged particle but the primary arrives; radiation below 1 % is left out.
    assert np.mean(kept) / (50 * np.cosh(eta)) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("eta", [0.0, 1.2])
def test_photons_convert_as_often_as_seven_ninths_of_a_radiation_length_says(eta):
    n = 20_000
    arrived = material.propagate(primaries(n, 0.0), np.full(n, eta), seeding.generator(1, eta), P)
    survived = np.sum((arrived.bend == 0) & (arrived.energy_gev == 50.0)) / n
    expected = np.exp(-7 / 9 * material.tracker_x0(np.array([eta]), P)[0])
    assert survived == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))


@pytest.mark.parametrize("bend", [0.0, 1.0])
def test_energy_is_conserved_up_to_dropped_soft_particles(bend):
    n = 500
    arrived = material.propagate(primaries(n, bend), np.full(n, 1.2), seeding.generator(2), P)
    total = np.bincount(arrived.event, arrived.energy_gev, minlength=n)
    assert np.all(total <= 50 * (1 + 1e-12))
    assert np.mean(total) > 49.5


def test_photons_of_electrons_land_on_one_side_and_pairs_on_both():
    n = 2000
    eta = np.full(n, 0.5)
    electrons = material.propagate(
        primaries(n, 1.0), eta, seeding.generator(3), ShowerParameters(generations=1)
    )
    first = {
        event: electrons.s_m[(electrons.event == event) & (electrons.bend > 0)].max() for event in range(n)
    }
    photons = electrons.bend == 0
    hosts = np.array([first[event] for event in electrons.event[photons]])
    assert np.all(electrons.s_m[photons] <= hosts + 1e-12)
    pairs = material.propagate(primaries(n, 0.0), eta, seeding.generator(4), P)
    assert np.all(pairs.s_m[(pairs.bend > 0) & (pairs.energy_gev > 40)] >= 0)
    assert (pairs.s_m > 1e-3).sum() == pytest.approx((pairs.s_m < -1e-3).sum(), rel=0.2)


def test_a_straight_photon_is_085_crystals_from_its_electron():
    """An electron of pT 50 GeV in 3.8 T, r² 0.3 B / (2 pT) off a straight line."""
    one = primaries(1, 1.0)
    bare = ShowerParameters(tracker_x0_min=1e-9, tracker_x0_max=1e-9, tracker_inner_m=0.0)
    arrived = material.propagate(one, np.zeros(1), seeding.generator(5), bare)
    crystals = arrived.s_m[0] / (bare.ecal_radius_m * bare.crystal_phi_rad)
    assert crystals == pytest.approx(0.85, abs=0.02)
