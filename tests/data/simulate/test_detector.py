import numpy as np
import pytest

from holdfast.core import seeding
from holdfast.data.simulate import JetParameters, detector
from holdfast.data.simulate.jets import Jets

P = JetParameters(
    hcal_noise_gev=0.0, hcal_spread_rad=1e-6, hcal_stochastic_sqrt_gev=0, hcal_constant_fraction=0
)
PHOTON, PION, NEUTRON, MUON = 22, 211, 2112, 13


def jets_of(pid, pt, eta=0.04, phi=0.04, charge=0.0, n=1):
    """Jets of one particle each, all alike."""
    one = np.ones(n)
    energy = pt * np.cosh(eta) * one
    jet = (pt * one, eta * one, phi * one, one, np.ones(n, dtype=int))
    return Jets(*jet, np.arange(n), *jet[:3], energy, charge * one, np.full(n, pid))


def images(pid, pt, p=P, seed=0, **where):
    return detector.jet_images(jets_of(pid, pt, **where), seeding.generator(seed), p)


def test_a_photon_is_seen_in_the_crystals_only():
    image = images(PHOTON, 50.0, n=20)
    assert image.shape == (20, 3, 125, 125)
    assert image.dtype == np.float32
    assert image[:, 0].sum() == 0
    assert image[:, 2].sum() == 0
    near = image[:, 1, 58:68, 58:68].sum(axis=(1, 2))
    assert near.mean() == pytest.approx(50, rel=0.05)


def test_a_neutral_hadron_leaves_its_energy_in_both_calorimeters_and_no_track():
    image = images(NEUTRON, 60.0, n=200)
    assert image[:, 0].sum() == 0
    # What goes through the crystals goes to the middle tower, divided among its 25 cells.
    both = image[:, 1, 52:73, 52:73].sum(axis=(1, 2)) + image[:, 2].sum(axis=(1, 2))
    assert both.mean() == pytest.approx(60, rel=0.06)
    tower = image[:, 2, 60:65, 60:65]
    assert np.all(tower == tower[:, :1, :1])
    assert image[:, 2].sum() == pytest.approx(tower.sum(), rel=1e-5)
    share = P.hadron_ecal_interacts * P.hadron_ecal_share_a / (P.hadron_ecal_share_a + P.hadron_ecal_share_b)
    assert image[:, 2].sum() / 200 == pytest.approx(60 * (1 - share), rel=0.08)


@pytest.mark.parametrize("charge", [-1.0, 1.0])
def test_a_charged_pion_has_a_track_where_it_started_and_energy_where_it_bent_to(charge):
    p = JetParameters(**{**P.__dict__, "track_efficiency": 1.0, "hadron_ecal_interacts": 0.0})
    image = images(PION, 8.0, p=p, charge=charge, n=50)
    tracks = image[:, 0].sum(axis=(1, 2))
    assert tracks.mean() == pytest.approx(8, rel=0.01)
    row, column = np.unravel_index(image[0, 0].argmax(), (125, 125))
    towers = image[:, 2].reshape(50, -1).argmax(axis=1) % 125
    turn = np.arcsin(0.3 * 3.8 * p.hcal_radius_m / 2 / 8)
    # The image is centred on the tower; the track is off by the angle, on the side of its charge.
    assert (column - (towers[0] + 2)) * detector.CELL_RAD == pytest.approx(charge * turn, abs=0.06)
    assert abs(row - 62) <= 2


def test_slow_charged_particles_curl_up_before_the_calorimeters():
    image = images(PION, 0.7, charge=1.0, n=20)
    assert image[:, 2].sum() == 0
    assert image[:, 0].sum(axis=(1, 2)).max() == pytest.approx(0.7, rel=0.1)
    eta, phi, reached = detector.calorimeter_position(*np.array([[0.7], [1.0], [0.0], [1.0]]), 1.29, 3.8)
    assert not reached[0]
    assert phi[0] == pytest.approx(-np.pi / 2)
    assert eta[0] > 1.0


def test_neutral_particles_fly_straight_on_and_the_helix_is_that_of_the_textbook():
    pt, eta, phi, charge = np.array([[5.0, 5.0], [0.8, 0.8], [0.3, 0.3], [0.0, -1.0]])
    at_eta, at_phi, reached = detector.calorimeter_position(pt, eta, phi, charge, 1.29, 3.8)
    assert reached.all()
    assert at_eta[0] == pytest.approx(0.8)
    assert at_phi[0] == pytest.approx(0.3)
    radius = 5.0 / (0.3 * 3.8)
    angle = 2 * np.arcsin(1.29 / (2 * radius))
    assert at_phi[1] == pytest.approx(0.3 + angle / 2)
    assert np.sinh(at_eta[1]) == pytest.approx(np.sinh(0.8) * radius * angle / 1.29)


def test_a_muon_passes_through():
    image = images(MUON, 40.0, charge=1.0, n=50)
    assert 0 < image[:, 2].sum(axis=(1, 2)).max() <= P.ionisation_hcal_gev + 1e-5


@pytest.mark.parametrize("phi", [-np.pi + 0.01, 0.0, np.pi - 0.01])
@pytest.mark.parametrize("eta", [-1.9, 0.0, 1.9])
def test_the_hottest_tower_is_the_middle_anywhere(eta, phi):
    image = images(NEUTRON, 80.0, p=JetParameters(), eta=eta, phi=phi, n=3)
    assert np.all(image[:, 2].reshape(3, -1).max(axis=1) == image[:, 2, 62, 62])


def test_crystals_have_noise_above_the_threshold_and_none_below():
    image = images(PHOTON, 80.0, n=10)[:, 1]
    far = image[:, :40]
    assert (far[far > 0] > P.ecal.zero_suppression_gev).all()
    assert (far > 0).mean() == pytest.approx(0.0047, rel=0.3)  # beyond 2.6 standard deviations, one side
