import gzip
import os
import struct

import numpy as np
import pytest

from holdfast import data
from holdfast.core.errors import DataError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def arrays():
    rng = np.random.default_rng(0)
    return {
        NAMES[0]: rng.integers(0, 256, (60, 28, 28), np.uint8),
        NAMES[1]: np.arange(60, dtype=np.uint8) % 10,
        NAMES[2]: rng.integers(0, 256, (11, 28, 28), np.uint8),
        NAMES[3]: np.arange(11, dtype=np.uint8) % 10,
    }


@pytest.fixture(params=["plain", "gzip", "raw folder"])
def root(request, tmp_path, monkeypatch):
    folder = tmp_path / ("MNIST/raw" if request.param == "raw folder" else ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays().items():
        if request.param == "gzip":
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    monkeypatch.setenv("HOLDFAST_DATA", os.pathsep.join([str(tmp_path / "absent"), str(tmp_path)]))
    return folder


def test_official_layout(root):
    test = data.open("mnist", split="test")
    x, y = next(iter(test.batches(20)))
    assert np.array_equal(np.rint(x[:, 0].numpy() * 255).astype(np.uint8), arrays()[NAMES[2]])
    assert y.tolist() == arrays()[NAMES[3]].tolist()
    assert test.info.shape == (1, 28, 28)
    parts = [data.open("mnist", split=split).info.n for split in ("train", "val", "test")]
    assert sum(parts) == 71
    assert parts[0] + parts[1] == 60


DAMAGE = {
    "truncated": lambda raw: raw[:-5],
    "longer": lambda raw: raw + b"0",
    "wrong magic": lambda raw: b"\x00\x00\x0d\x03" + raw[4:],
    "empty": lambda raw: b"",
    "labels for images": lambda raw: idx(np.zeros(60, np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_files(tmp_path, monkeypatch, damage):
    for name, array in arrays().items():
        (tmp_path / name).write_bytes(idx(array))
    (tmp_path / NAMES[0]).write_bytes(damage(idx(arrays()[NAMES[0]])))
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    with pytest.raises(DataError, match=NAMES[0]):
        data.open("mnist")


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"no gzip"])
def test_damaged_gzip(tmp_path, monkeypatch, damage):
    for name, array in arrays().items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(damage(gzip.compress(idx(arrays()[NAMES[0]]))))
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    with pytest.raises(DataError, match="whole idx file"):
        data.open("mnist")


@pytest.mark.parametrize(
    ("labels", "message"), [(np.zeros(59, np.uint8), "60 labels"), (np.full(60, 10, np.uint8), "0 to 9")]
)
def test_wrong_labels(root, labels, message):
    for path in root.glob(f"{NAMES[1]}*"):
        path.write_bytes(gzip.compress(idx(labels)) if path.suffix == ".gz" else idx(labels))
    with pytest.raises(DataError, match=message):
        data.open("mnist")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
@pytest.mark.parametrize("set_to", ["", "/nowhere"], ids=["unset", "wrong"])
def test_missing_files_name_the_variable(monkeypatch, name, set_to):
    monkeypatch.setenv("HOLDFAST_DATA", set_to)
    with pytest.raises(DataError, match="HOLDFAST_DATA"):
        data.open(name)


def test_the_real_set(real_data):
    test = data.open("mnist", split="test")
    assert test.info.n == 10_000
    _, y = next(iter(test.batches(8)))
    assert y.tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    assert data.open("mnist", split="train").info.n + data.open("mnist", split="val").info.n == 60_000
