"""Folders laid out as ImageNet is."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from holdfast import data
from holdfast.core.errors import DataError, UsageError
from holdfast.data.folder import ImageFolder


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Two classes, whose images are of one grey value and of all shapes: 100 + their number."""
    for half, n in (("train", 40), ("val", 6)):
        for k in range(n):
            shape = [(20, 30, 3), (31, 17, 3), (9, 9), (25, 25, 3)][k % 4]
            name = f"{half}_{k:02}.{'JPEG' if k % 3 else 'png'}"
            pixels = np.full(shape, 100 + k, np.uint8)
            save(tmp_path / "net" / half / f"n0{k % 2}" / name, pixels, **({"quality": 100} if k % 3 else {}))
    return tmp_path / "net"


def values(batches):
    return [
        (round(float(image.mean()) * 255), int(label))
        for x, y in batches
        for image, label in zip(x, y, strict=True)
    ]


def test_every_image_comes_with_its_label(folder):
    streams = {split: data.open(str(folder), split=split, image_size=8) for split in ("train", "val", "test")}
    info = streams["train"].info
    assert (info.shape, info.classes, info.value_range) == ((3, 8, 8), ("n00", "n01"), (0.0, 1.0))
    found = {split: values(stream.batches(7, shuffle=True)) for split, stream in streams.items()}
    assert sorted(found["test"]) == [(100 + k, k % 2) for k in range(6)]
    assert sorted(found["train"] + found["val"]) == [(100 + k, k % 2) for k in range(40)]
    assert 0 < len(found["val"]) < 15


def test_the_centre_of_the_resized_image_is_taken(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
    for half in ("train", "val"):
        save(tmp_path / half / "a" / "x.png", small.repeat(8, 0).repeat(8, 1))
    table = ImageFolder(tmp_path, 14)  # 16 is 8/7 of it: the resized image is the small one
    expected = np.moveaxis(small[1:15, 5:19], -1, 0) / 255
    difference = np.abs(table.images(np.array([0]))[0] - expected)
    assert np.median(difference) < 0.2  # the filter of the resizing reaches into neighbours
    shifted = np.moveaxis(small[1:15, 4:18], -1, 0) / 255
    assert difference.mean() < 0.7 * np.abs(table.images(np.array([0]))[0] - shifted).mean()
    assert table.images(np.array([], dtype=np.int64)).shape == (0, 3, 14, 14)


def test_it_is_read_when_asked_for_and_known_by_names_and_sizes(folder):
    before = data.open(folder, split="test", image_size=8).info.fingerprint
    assert before == data.open(folder, split="test", image_size=8).info.fingerprint
    assert before != data.open(folder, split="test", image_size=9).info.fingerprint
    damaged = folder / "val" / "n01" / "val_01.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:80])
    stream = data.open(folder, split="test", image_size=8)
    assert stream.info.fingerprint != before
    with pytest.raises(DataError, match=r"val_01\.JPEG.*truncated or damaged"):
        list(stream.batches(4))


def test_the_usual_size(folder):
    assert data.open(folder).info.shape == (3, 224, 224)


def test_what_does_not_fit_is_named(folder, monkeypatch):
    with pytest.raises(UsageError, match="image_size"):
        data.open("digits", image_size=8)
    with pytest.raises(UsageError, match="image size"):
        data.open(folder, image_size=0)
    (folder / "val" / "n07").mkdir()
    with pytest.raises(DataError, match="folders of the classes of train, got n07"):
        data.open(folder)
    (folder / "val" / "n07").rename(folder / "train" / "n07")
    with pytest.raises(DataError, match=r"n07.*\.jpeg.*got none"):
        data.open(folder)
    (folder / "train" / "n07").rmdir()
    (folder / "val").rename(folder / "other")
    with pytest.raises(DataError, match=r"val.*one folder a class"):
        data.open(folder)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"install holdfast\[images\]"):
        data.open(folder)
