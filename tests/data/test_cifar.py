import os
import pickle

import numpy as np
import pytest

from holdfast import data
from holdfast.core.errors import DataError


def batch(n, key, seed, classes):
    rng = np.random.default_rng(seed)
    return {
        b"data": rng.integers(0, 256, (n, 3072), np.uint8),
        key: [int(k) for k in rng.integers(0, classes, n)],
        b"batch_label": b"one",
    }


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        (folder / name).write_bytes(pickle.dumps(batch(20, b"labels", number, 10), protocol=2))
    (folder / "batches.meta").write_bytes(
        pickle.dumps({b"label_names": [f"c{k}".encode() for k in range(10)]}, protocol=2)
    )
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    return folder


def test_official_layout(cifar10):
    test = data.open("cifar10", split="test")
    x, y = next(iter(test.batches(50)))
    expected = batch(20, b"labels", 5, 10)
    assert np.array_equal(np.rint(x.numpy() * 255).astype(np.uint8).reshape(20, -1), expected[b"data"])
    assert y.tolist() == expected[b"labels"]
    assert test.info.classes[3] == "c3"
    assert data.open("cifar10", split="train").info.n + data.open("cifar10", split="val").info.n == 100


def test_official_layout_of_100_classes(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for number, name in enumerate(["train", "test"]):
        (folder / name).write_bytes(pickle.dumps(batch(30, b"fine_labels", number, 100)))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"x%d" % k for k in range(100)]}))
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    assert data.open("cifar100", split="test").info.n == 30
    assert len(data.open("cifar100", split="all").info.classes) == 100


class Evil:
    def __reduce__(self):
        return (os.system, ("false",))


def with_(key, value):
    return lambda: pickle.dumps({**batch(20, b"labels", 0, 10), key: value})


DAMAGE = {
    "truncated": (lambda: pickle.dumps(batch(20, b"labels", 0, 10))[:-1000], "truncated or damaged"),
    "no pickle": (lambda: b"hello", "truncated or damaged"),
    "runs code": (with_(b"labels", Evil()), "arrays and plain values only, got posix.system"),
    "no dictionary": (lambda: pickle.dumps([1]), "expected a dictionary"),
    "floats": (with_(b"data", np.zeros((20, 3072))), "uint8"),
    "wrong width": (with_(b"data", np.zeros((20, 3071), np.uint8)), "uint8"),
    "no data": (with_(b"data", None), "got NoneType"),
    "fewer labels": (with_(b"labels", [0] * 19), "a list of 20 labels"),
    "label 10": (with_(b"labels", [10] * 20), "labels 0 to 9"),
    "no labels": (with_(b"labels", None), "a list of 20 labels"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_batches(cifar10, damage):
    make, message = damage
    (cifar10 / "data_batch_1").write_bytes(make())
    with pytest.raises(DataError, match=message) as caught:
        data.open("cifar10")
    assert "data_batch_1" in str(caught.value)


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_missing_batches(cifar10, name):
    (cifar10 / name).unlink()
    with pytest.raises(DataError, match=f"{name}: .*no such file"):
        data.open("cifar10")


def test_the_real_set(real_data):
    stream = data.open("cifar10", split="test")
    assert stream.info.n == 10_000
    assert set(stream.info.counts.values()) == {1000}
    assert stream.info.classes[0] == "airplane"
