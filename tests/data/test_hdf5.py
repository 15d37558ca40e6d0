import h5py
import numpy as np
import pytest

from holdfast import data
from holdfast.core.errors import DataError, UnknownNameError, UsageError
from holdfast.data.hdf5 import ShowerTable
from holdfast.data.simulate import simulate


@pytest.mark.parametrize(
    "indices", [[], [0], [0, 1, 2], [299, 300, 301], [601], list(range(0, 602, 7))], ids=len
)
def test_images_are_the_rows_of_the_files(two_files, indices):
    table = ShowerTable(sorted(two_files.iterdir()))
    arrays = []
    for path in table.paths:
        with h5py.File(path) as file:
            arrays.append(file["X"][:])
    expected = np.moveaxis(np.concatenate(arrays), -1, 1)[indices]
    assert np.array_equal(table.images(np.array(indices, dtype=np.int64)), expected)


def test_order_of_the_files_given_does_not_matter(two_files):
    paths = sorted(two_files.iterdir())
    forth, back = (data.open(order, split="train").info for order in (paths, paths[::-1]))
    assert forth == back


def test_ways_to_name_the_same_files(two_files):
    paths = sorted(two_files.iterdir())
    ways = [two_files, str(two_files), paths, [str(path) for path in paths], ",".join(map(str, paths))]
    assert len({data.open(way, split="all").info.fingerprint for way in ways}) == 1


def test_one_class_is_told(two_files):
    info = data.open(two_files / "SinglePhoton.hdf5", split="all").info
    assert info.classes_present == ("photon",)
    assert info.counts == {"photon": 301, "electron": 0}


def test_official_files_are_not_called_simulated(tmp_path, write, make_showers):
    path = write(tmp_path / "official.hdf5", *make_showers(9, 1))
    info = data.open(path, split="all").info
    assert not info.simulated
    assert info.name == "egamma"


@pytest.mark.parametrize("chunks", [None, (1, 32, 32, 2), (50, 16, 16, 1)], ids=str)
def test_any_chunking_and_label_type_is_read(tmp_path, make_showers, chunks):
    images, labels = make_showers(200, 1)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("X", data=images, chunks=chunks)
        file["y"] = labels.astype(np.uint8)
    x, _ = next(iter(data.open(tmp_path / "a.hdf5", split="all").batches(500)))
    assert np.array_equal(x.numpy(), np.moveaxis(images, -1, 1))


def test_simulated_files_are_opened(tmp_path):
    simulate(tmp_path, events=60, seed=0)
    stream = data.open(tmp_path, split="all")
    assert stream.info.simulated
    assert stream.info.counts == {"photon": 30, "electron": 30}
    x, _ = next(iter(stream.batches(60)))
    energy = x[:, 0].reshape(60, -1)
    assert (energy.argmax(1) == 16 * 32 + 16).all()


def test_content_decides_the_fingerprint(tmp_path, write, make_showers):
    images, labels = make_showers(9, 1)
    one = data.open(write(tmp_path / "one.hdf5", images, labels), split="all").info.fingerprint
    (tmp_path / "copy.hdf5").write_bytes((tmp_path / "one.hdf5").read_bytes())
    assert data.open(tmp_path / "copy.hdf5", split="all").info.fingerprint == one
    images[0, 16, 16, 0] += 0.01
    assert data.open(write(tmp_path / "two.hdf5", images, labels), split="all").info.fingerprint != one


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("digit", UnknownNameError, "did you mean 'digits'"),
        ("nowhere/x.hdf5", DataError, "no such path"),
        ("missing.hdf5", DataError, "no such path"),
        ([], UsageError, "got nothing"),
        ("", UnknownNameError, "one of cifar10"),
    ],
    ids=["near name", "no such file", "no such plain file", "empty list", "empty name"],
)
def test_sources_that_are_none(source, error, message):
    with pytest.raises(error, match=message):
        data.open(source)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="none in this folder"):
        data.open(tmp_path)


def test_a_file_given_twice(two_files):
    path = two_files / "SinglePhoton.hdf5"
    with pytest.raises(UsageError, match="each file once"):
        data.open([path, path])
