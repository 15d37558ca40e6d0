import numpy as np
import pytest

from holdfast.core.errors import UsageError
from holdfast.data.simulate import JetParameters, jets

pytest.importorskip("pythia8mc", reason="needs the extra physics (Pythia 8)")
pytest.importorskip("fastjet", reason="needs the extra physics (FastJet)")


@pytest.fixture(scope="module")
def made():
    return {flavour: jets.generate(flavour, 40, seed=0) for flavour in jets.FLAVOURS}


@pytest.mark.parametrize("flavour", jets.FLAVOURS)
def test_jets_are_in_the_range_asked_for(made, flavour):
    p, some = JetParameters(), made[flavour]
    assert len(some) == 40
    assert some.pt_gev.min() > p.jet_pt_min_gev
    assert np.abs(some.eta).max() < p.jet_eta_max
    assert np.all(np.diff(some.jet) >= 0)
    assert set(some.jet) == set(range(40))
    assert not np.isin(np.abs(some.pid), jets._NEUTRINOS).any()


def test_the_particles_within_the_radius_make_up_the_jet(made):
    """Momentum of the particles within 0.4 of the axis: near the jet's, of which anti-kT cones are disks."""
    some = made["quark"]
    off = np.hypot(
        some.particle_eta - some.eta[some.jet], jets.wrapped(some.particle_phi - some.phi[some.jet])
    )
    inside = off < JetParameters().jet_radius
    angle = jets.wrapped(some.particle_phi - some.phi[some.jet])
    along = np.bincount(some.jet, some.particle_pt_gev * np.cos(angle) * inside, minlength=40)
    assert np.median(along / some.pt_gev) == pytest.approx(1, abs=0.01)
    number = np.bincount(some.jet, inside, minlength=40)
    assert np.median(np.abs(number - some.constituents)) <= 2


def test_gluon_jets_are_heavier_and_of_more_particles(made):
    """The label's meaning; means of large samples are 15.0 and 11.2 GeV, 26.7 and 18.6 particles."""
    gluon, quark = made["gluon"], made["quark"]
    assert gluon.constituents.mean() > quark.constituents.mean() + 4
    assert gluon.mass_gev.mean() > quark.mass_gev.mean()
    assert gluon.constituents.mean() == pytest.approx(26.7, abs=5)
    assert quark.constituents.mean() == pytest.approx(18.6, abs=4)
    assert gluon.mass_gev.mean() == pytest.approx(15.0, abs=3)
    assert quark.mass_gev.mean() == pytest.approx(11.2, abs=3)


def test_a_jet_does_not_depend_on_what_was_made_before(made):
    """Chunks go to any process, whose generator is seeded anew."""
    other, again = (jets.generate("quark", 3, seed=seed) for seed in (99, 0))
    for name in ("pt_gev", "mass_gev", "particle_phi", "pid"):
        assert np.array_equal(getattr(again, name), getattr(made["quark"].first(3), name))
    assert not np.array_equal(other.pt_gev, again.pt_gev)


@pytest.mark.parametrize(("flavour", "count"), [("charm", 1), ("quark", 0)])
def test_bad_arguments_are_named(flavour, count):
    with pytest.raises(UsageError, match="expected"):
        jets.generate(flavour, count, seed=0)
