"""The packages that Holdfast ships: valid, and one rule with the data sets of the same names."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest

from holdfast import data
from holdfast.hub.component import load
from holdfast.hub.kinds import Package
from holdfast.hub.packages import install, planned
from holdfast.hub.repository import find, repositories

BUILT_IN = repositories()[-1]
NAMES = [folder.name for folder in BUILT_IN.folders("package")]


def test_all_that_was_promised_is_there():
    promised = {
        "cifar10",
        "cifar100",
        "mnist",
        "ml4sci-egamma",
        "quark-gluon",
        "coco-val-50",
        "coco-val-5000",
    }
    assert promised | {"simulated-egamma", "simulated-jets", "resnet20-cifar10"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_package_says_its_terms_and_can_be_planned(name, packages):
    component = load(BUILT_IN.root / "package" / name)
    meta = component.meta
    assert isinstance(meta, Package)
    assert meta.license
    for source in meta.sources:
        assert source.sha256 is not None, "no address without a hash"
    assert meta.simulated == ("simulation" in meta.tags)
    plan = planned(component)
    assert plan.way in ("download", "link", "generate")
    assert plan.license == meta.license


def idx(array):
    """An array as the bytes of a gzipped idx file."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["", "MNIST/raw"])
def test_mnist_is_the_same_files_to_the_package_and_to_the_data_set(packages, folder):
    place = packages.data / folder
    place.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 20), ("t10k", 10)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (place / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (place / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    before = data.open("mnist", split="test")
    made = install("package:mnist")
    assert {path.name: path.readlink() for path in made.folder.iterdir()} == {
        path.name: path for path in place.iterdir() if path.is_file()
    }
    packages.data.rename(packages.data.with_name("away"))
    for path in made.folder.iterdir():  # as a download would have put them there
        path.unlink()
        path.write_bytes((packages.data.with_name("away") / folder / path.name).read_bytes())
    assert data.open("mnist", split="test").info.fingerprint == before.info.fingerprint


def test_cifar_is_found_by_its_folder(packages):
    (packages.data / "cifar-10-batches-py").mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (packages.data / "cifar-10-batches-py" / name).write_bytes(pickle.dumps({}))
    made = install("package:cifar10")
    assert (made.provides["batches"] / "batches.meta").exists()
    assert find("package:cifar10").meta.version == made.version
