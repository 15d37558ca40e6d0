import h5py
import numpy as np
import pytest

from holdfast import data
from holdfast.core.errors import DataError


def opened(path):
    return data.open(path, split="all", cache_bytes=0)


def test_a_good_file_passes(tmp_path, write, make_showers):
    assert opened(write(tmp_path / "good.hdf5", *make_showers(300, 1))).info.counts["electron"] == 300


def raw_gev(x, y):
    return x * np.float32(50), y


def shifted(x, y):
    return np.roll(x, (-1, -1), axis=(1, 2)), y


def nan_energy(x, y):
    x[5, 3, 3, 0] = np.nan
    return x, y


def infinite(x, y):
    x[7, 3, 3, 0] = -np.inf
    return x, y


def negative(x, y):
    x[7, 3, 3, 0] = -3
    return x, y


BAD = {
    "raw GeV": (raw_gev, "divide energies in GeV by 50"),
    "tiny unit": (lambda x, y: (x / np.float32(1000), y), "check the unit"),
    "seed at 15": (shifted, r"most often at \[15, 15\]"),
    "NaN": (nan_energy, r"event 5: expected finite energies"),
    "minus infinity": (infinite, r"event 7: expected finite energies"),
    "negative": (negative, "energies >= 0"),
    "float64": (lambda x, y: (x.astype(np.float64), y), "expected float32 .*got float64"),
    "integers": (lambda x, y: ((x * 255).astype(np.uint8), y), "got uint8"),
    "one channel": (lambda x, y: (x[..., :1], y), r"shape \(N, 32, 32, 2\), got \(300, 32, 32, 1\)"),
    "channels first": (lambda x, y: (np.moveaxis(x, -1, 1), y), r"got \(300, 2, 32, 32\)"),
    "fewer labels": (lambda x, y: (x, y[:-1]), r"shape \(300,\), one label an image"),
    "label 2": (lambda x, y: (x, y + 1), "got 2.0 at event 0"),
    "label NaN": (lambda x, y: (x, y * np.nan), "labels 1 .electron. and 0 .photon."),
    "text labels": (lambda x, y: (x, np.array([b"e"] * len(y))), "expected numbers"),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_bad_files_are_refused(tmp_path, write, make_showers, change):
    damage, message = change
    path = write(tmp_path / "bad.hdf5", *damage(*make_showers(300, 1)))
    with pytest.raises(DataError, match=message) as caught:
        opened(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("keys", [("images", "y"), ("X", "labels"), ()], ids=str)
def test_wrong_keys(tmp_path, make_showers, keys):
    path = tmp_path / "keys.hdf5"
    with h5py.File(path, "w") as file:
        for key, values in zip(keys, make_showers(3, 1), strict=False):
            file[key] = values
    with pytest.raises(DataError, match="expected keys X"):
        opened(path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
def test_truncated_files(tmp_path, write, make_showers, kept):
    path = write(tmp_path / "cut.hdf5", *make_showers(300, 1))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="expected a whole HDF5 file"):
        opened(path)


def test_damage_met_while_reading(tmp_path, write, make_showers):
    """Values beyond the sample are checked as they are read, and the event is named."""
    images, labels = make_showers(6000, 1)
    images[400, 2, 2, 1] = np.inf
    stream = opened(write(tmp_path / "late.hdf5", images, labels))
    with pytest.raises(DataError, match="event 400: expected finite energies and times"):
        list(stream.batches(100))


def test_a_file_of_text(tmp_path):
    path = tmp_path / "text.hdf5"
    path.write_text("no HDF5")
    with pytest.raises(DataError, match="whole HDF5 file"):
        opened(path)


@pytest.mark.parametrize("together", [False, True], ids=["one file", "two files"])
def test_swapped_labels_are_found_by_the_width_in_phi(tmp_path, write, make_showers, together):
    (x1, y1), (x0, y0) = make_showers(200, 1), make_showers(200, 0)
    if together:
        paths = [write(tmp_path / "a.hdf5", x1, 1 - y1), write(tmp_path / "b.hdf5", x0, 1 - y0)]
    else:
        paths = [write(tmp_path / "a.hdf5", np.concatenate([x1, x0]), 1 - np.concatenate([y1, y0]))]
    with pytest.raises(DataError, match=r"narrower by \d+ standard deviations; the labels look swapped"):
        opened(paths)


def test_swapped_labels_of_simulated_showers_are_found(tmp_path, write):
    from holdfast.data.simulate import shower

    images = np.concatenate([shower.images(particle, 600, seed=0) for particle in shower.CLASSES])
    labels = np.repeat(np.float32([0, 1]), 600)
    opened(write(tmp_path / "right.hdf5", images, labels))
    with pytest.raises(DataError, match="look swapped"):
        opened(write(tmp_path / "swapped.hdf5", images, 1 - labels))


def test_nothing_is_said_where_nothing_can_be(tmp_path, write, make_showers):
    """Three events of each class, and a single class, decide nothing."""
    (x1, y1), (x0, y0) = make_showers(3, 1), make_showers(3, 0)
    opened(write(tmp_path / "few.hdf5", np.concatenate([x1, x0]), 1 - np.concatenate([y1, y0])))
    opened(write(tmp_path / "one.hdf5", *make_showers(200, 0)))


@pytest.mark.parametrize(("name", "label"), [("SingleElectronPt50.hdf5", 0), ("SinglePhotonPt50.hdf5", 1)])
def test_labels_against_the_file_name(tmp_path, write, make_showers, name, label):
    with pytest.raises(DataError, match=f"got only {label}"):
        opened(write(tmp_path / name, *make_showers(50, label)))
