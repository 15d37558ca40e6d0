import numpy as np
import pytest

from holdfast.core.errors import UsageError
from holdfast.data.simulate import ShowerParameters, material, profile, shower


@pytest.fixture(scope="module")
def samples():
    return {particle: shower.images(particle, 1500, seed=0) for particle in shower.CLASSES}


@pytest.mark.parametrize("particle", shower.CLASSES)
@pytest.mark.parametrize("events", [1, 3, 7])
def test_images_have_the_official_form(particle, events):
    images = shower.images(particle, events, seed=1)
    assert images.shape == (events, 32, 32, 2)
    assert images.dtype == np.float32
    assert np.isfinite(images).all()


@pytest.mark.parametrize("particle", shower.CLASSES)
def test_the_hottest_crystal_is_the_seed(samples, particle):
    energy = samples[particle][..., 0]
    assert np.all(energy.reshape(len(energy), -1).argmax(axis=1) == 16 * 32 + 16)
    assert energy.min() == 0


@pytest.mark.parametrize("particle", shower.CLASSES)
def test_time_is_zero_where_no_energy_is_and_sharp_where_much_is(samples, particle):
    energy, time = np.moveaxis(samples[particle], -1, 0)
    assert np.all(time[energy == 0] == 0)
    assert np.abs(time).max() <= 1
    seeds_ns = 50 * time[:, 16, 16]
    assert 0.3 < seeds_ns.std() < 0.8
    soft = (energy > 0) & (energy < 0.004)
    assert (50 * time[soft]).std() > 1


def test_same_seed_same_images_other_seed_or_chunk_other_images():
    first = shower.images("electron", 5, seed=3, chunk=2)
    assert np.array_equal(first, shower.images("electron", 5, seed=3, chunk=2))
    assert not np.array_equal(first, shower.images("electron", 5, seed=4, chunk=2))
    assert not np.array_equal(first, shower.images("electron", 5, seed=3, chunk=3))


def test_what_the_field_bent_moves_on_with_the_depth_of_the_shower():
    """A straight photon from the vertex stays; an electron of pT 50 GeV gains what its slope says."""
    p, zero = ShowerParameters(), np.zeros(2)
    slope = np.array([0.0, 0.3 * p.field_tesla * p.ecal_radius_m / 50])
    s_m = slope * p.ecal_radius_m / 2
    bend = np.array([0.0, 1.0])
    particles = material.Particles(np.arange(2), bend, zero + 50.0, zero + 1, s_m, slope)
    arc = shower._arc_at_depth(particles, np.ones(2), p)
    radial_m = 0.0089 * profile.mean_depth(np.array([50.0]), p)[0]
    exact = (s_m[1] + slope[1] * radial_m) * p.ecal_radius_m / (p.ecal_radius_m + radial_m)
    assert arc == pytest.approx([0.0, exact])
    assert 1.05 < arc[1] / s_m[1] < 1.08


def test_electrons_are_wider_in_phi_and_not_in_eta(samples):
    steps = np.arange(32) - 16

    def width(images, axis):
        band = images[:, 14:19, :, 0] if axis == "phi" else images[:, :, 14:19, 0].swapaxes(1, 2)
        line = band.sum(axis=1)
        return (line * steps**2).sum(axis=1) / line.sum(axis=1)

    electron, photon = samples["electron"], samples["photon"]
    assert np.median(width(electron, "phi")) > 1.3 * np.median(width(photon, "phi"))
    assert np.median(width(electron, "eta")) == pytest.approx(np.median(width(photon, "eta")), rel=0.1)


def test_classes_differ_by_shape_about_as_much_as_published(samples):
    """Published classifiers reach AUC 0.76 to 0.82; few features on few events come near."""
    sklearn = pytest.importorskip("sklearn.ensemble")
    from sklearn.metrics import roc_auc_score

    images = np.concatenate([samples["photon"], samples["electron"]])[..., 0]
    labels = np.repeat([0, 1], 1500)
    total = images.sum(axis=(1, 2))
    columns = np.sort(images[:, 14:19].sum(axis=1) / total[:, None], axis=1)[:, -6:]
    near = images[:, 14:19, 12:21].reshape(len(images), -1) / total[:, None]
    features = np.concatenate([total[:, None], columns, near], axis=1)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:2000], order[2000:]
    model = sklearn.HistGradientBoostingClassifier(random_state=0, max_iter=80)
    model.fit(features[train], labels[train])
    auc = roc_auc_score(labels[test], model.predict_proba(features[test])[:, 1])
    assert 0.65 < auc < 0.85


@pytest.mark.parametrize(("particle", "events"), [("muon", 1), ("photon", 0), ("photon", -3)])
def test_bad_arguments_are_named(particle, events):
    with pytest.raises(UsageError, match="expected"):
        shower.images(particle, events, seed=0)
