import h5py
import numpy as np
import pytest

from holdfast.core.errors import DataError
from holdfast.data.readers import open_reader

RNG = np.random.default_rng(0)
X = RNG.random((50, 2, 8, 8), dtype=np.float32)
Y = np.arange(50) % 2


def images(reader, **how):
    return np.concatenate([block.images for block in reader.blocks(**how)])


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
def test_hdf5(tmp_path, last):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = np.moveaxis(X, 1, -1) if last else X
        file["y"] = Y
    reader = open_reader(tmp_path / "a.h5")
    assert (reader.kind, reader.rows, reader.shape, reader.columns) == ("hdf5", 50, (2, 8, 8), ("y",))
    assert np.array_equal(images(reader, rows=7, start=3, stop=40), X[3:40])


def test_official_showers(tmp_path, write, make_showers):
    values, labels = make_showers(9, 1)
    reader = open_reader(write(tmp_path / "a.hdf5", values, labels, simulated=True))
    assert (reader.channels, reader.units) == (("energy", "time"), ("50 GeV", "50 ns"))
    assert (reader.classes, reader.simulated) == (("photon", "electron"), True)
    assert np.array_equal(images(reader), np.moveaxis(values, -1, 1))


def test_damaged_chunks(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("X", data=X, chunks=(5, 2, 8, 8), fletcher32=True)
        file["y"] = Y
        offset = data.id.get_chunk_info(3).byte_offset
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[offset + 10] ^= 255
    (tmp_path / "a.h5").write_bytes(bytes(raw))
    reader = open_reader(tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"a\.h5, row 15"):
        images(reader)
    blocks = list(reader.blocks(20, on_corrupt="skip"))
    assert sum(block.skipped for block in blocks) == 5
    kept = np.concatenate([block.images for block in blocks if len(block)])
    assert np.array_equal(kept, np.delete(X, np.s_[15:20], axis=0))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "a.npz", X=X.astype(np.float64), y=Y)
    reader = open_reader(tmp_path / "a.npz", units=("GeV", "ns"), channels=("E", "t"))
    assert (reader.kind, reader.shape, reader.columns) == ("npz", (2, 8, 8), ("y",))
    assert np.array_equal(images(reader, rows=7, start=3, stop=40), X[3:40])


def test_npz_that_is_cut_or_holds_objects(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.array([{}], dtype=object))
    with pytest.raises(DataError):
        open_reader(path)
    np.savez(path, X=X, y=Y)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"a\.npz"):
        open_reader(path)


def test_real_energy_images(real_data):
    path = real_data / "egamma" / "ml4sci_energy_100.npz"
    if not path.is_file():
        pytest.skip("no real e/gamma images")
    reader = open_reader(path, units=("50 GeV",))
    assert (reader.rows, reader.shape) == (100, (1, 32, 32))
    assert np.array_equal(images(reader, rows=33)[:, 0], np.load(path)["X"])


def test_root(tmp_path):
    uproot = pytest.importorskip("uproot")
    awkward = pytest.importorskip("awkward")
    kinds = {"X": ("f4", (2, 8, 8)), "y": "i4", "pt": "f4"}
    with uproot.recreate(tmp_path / "a.root") as file:
        tree = file.mktree("events", kinds)
        tree.extend({"X": X, "y": Y.astype("i4"), "pt": np.ones(50, dtype="f4")})
    flat = X.reshape(50, 2, 64)
    with uproot.recreate(tmp_path / "b.root") as file:
        tree = file.mktree("fevt/RHTree", {"ECAL": "var * float32", "HCAL": "var * float32", "y": "i4"})
        columns = {name: awkward.Array(list(flat[:, c])) for c, name in enumerate(("ECAL", "HCAL"))}
        tree.extend({**columns, "y": Y.astype("i4")})
    for name, channels in (("a", ("channel 0", "channel 1")), ("b", ("ECAL", "HCAL"))):
        reader = open_reader(tmp_path / f"{name}.root")
        assert (reader.kind, reader.shape, reader.channels) == ("root", (2, 8, 8), channels)
        assert reader.label == "y"
        assert np.array_equal(images(reader, rows=7, start=3, stop=40), X[3:40])
    assert open_reader(tmp_path / "b.root", image="HCAL").shape == (1, 8, 8)
    with pytest.raises(DataError, match="a branch nothing"):
        open_reader(tmp_path / "b.root", image="nothing")


def test_a_truncated_root_file(tmp_path):
    pytest.importorskip("uproot")
    (tmp_path / "a.root").write_bytes(b"root" + bytes(100))
    with pytest.raises(DataError, match=r"a\.root"):
        open_reader(tmp_path / "a.root")
