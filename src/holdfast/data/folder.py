"""ImageNet and what is laid out like it: a folder a class, a file an image (Russakovsky et al. 2015)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.canonical import content_hash
from holdfast.core.errors import DataError, UsageError
from holdfast.data.table import Images, Indices, Table

SUFFIXES = (".jpeg", ".jpg", ".png")
SIZE = 224
_MARGIN = 256 / 224
"""The shorter side is resized to this many times the crop, as is usual for evaluation."""


def is_image_folder(path: Path) -> bool:
    """Whether ``path`` has a folder ``train`` with folders in it."""
    train = path / "train"
    return train.is_dir() and any(item.is_dir() for item in train.iterdir())


class ImageFolder(Table):
    """Images (3, ``size``, ``size``) in [0, 1] of ``path``/train/CLASS/*.JPEG and ``path``/val/CLASS/*.JPEG.

    The shorter side is resized to 8/7 of ``size`` (bilinear) and the centre cropped; grey images become
    coloured. Files are decoded when their images are read. The classes are the folders of ``train``; ``val``
    is the official test set. The fingerprint is that of names and sizes of the files, since reading all of
    them would take as long as an epoch. Needs the extra ``images``. Raises UsageError and DataError.
    """

    part: Indices
    unit_gev = None
    value_range = (0.0, 1.0)
    simulated = False
    block_rows = 1

    def __init__(self, path: Path, size: int = SIZE) -> None:
        if size < 1:
            raise UsageError("image size", expected="an integer >= 1", got=size)
        _pillow()
        self.name, self.size, self.shape = path.name, size, (3, size, size)
        self.classes = tuple(sorted(item.name for item in (path / "train").iterdir() if item.is_dir()))
        self.files: list[str] = []
        labels: list[int] = []
        official: list[bool] = []
        identity: list[tuple[str, int]] = []
        for half in ("train", "val"):
            for name, size_bytes, label in _listed(path, half, self.classes):
                self.files.append(str(path / name))
                labels.append(label)
                official.append(half == "val")
                identity.append((name, size_bytes))
        self.labels = np.array(labels, dtype=np.int64)
        self.official: NDArray[np.bool_] = np.array(official, dtype=np.bool_)
        self.part = np.zeros(len(labels), dtype=np.int64)
        self.row = np.arange(len(labels))
        self.fingerprint = content_hash([size, identity])

    def images(self, indices: Indices) -> Images:
        """Images (k, 3, size, size) float32 of the events ``indices`` (k,). Raises DataError."""
        paths = [self.files[index] for index in indices]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            pixels = list(pool.map(self._decode, paths))
        stacked = np.stack(pixels) if pixels else np.empty((0, self.size, self.size, 3), dtype=np.uint8)
        images = np.empty((len(indices), *self.shape), dtype=np.float32)
        np.divide(np.moveaxis(stacked, -1, 1), np.float32(255), out=images)
        return images

    def _decode(self, path: str) -> NDArray[np.uint8]:
        image = _pillow()
        try:
            with image.open(path) as file:
                width, height = file.size
                scale = round(_MARGIN * self.size) / min(width, height)
                wide, high = max(self.size, round(scale * width)), max(self.size, round(scale * height))
                resized = file.convert("RGB").resize((wide, high), image.Resampling.BILINEAR)
        except Exception as error:  # a damaged file may raise nearly anything
            raise DataError(
                path,
                expected="a whole image",
                got=f"{type(error).__name__}: {error}",
                remedy="the file is truncated or damaged: fetch it again",
            ) from error
        left, top = (wide - self.size) // 2, (high - self.size) // 2
        return np.asarray(resized.crop((left, top, left + self.size, top + self.size)))


def _listed(path: Path, half: str, classes: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """Relative name, bytes and label of every image of ``half``, sorted by name."""
    folder = path / half
    if not folder.is_dir():
        raise DataError(str(folder), expected="a folder with one folder a class", got="no such folder")
    inside = sorted(item.name for item in folder.iterdir() if item.is_dir())
    unknown = sorted(set(inside) - set(classes))
    if not inside or unknown:
        remedy = "sort the images into one folder a class, of the names that train has"
        got = ", ".join(unknown[:5]) or "no folder"
        raise DataError(str(folder), expected="folders of the classes of train", got=got, remedy=remedy)
    found = []
    for name in inside:
        with os.scandir(folder / name) as entries:
            images = sorted((e.name, e.stat().st_size) for e in entries if e.name.lower().endswith(SUFFIXES))
        if not images:
            raise DataError(str(folder / name), expected=f"files ending in {', '.join(SUFFIXES)}", got="none")
        found += [(f"{half}/{name}/{file}", size, classes.index(name)) for file, size in images]
    return found


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError(
            "image files", expected="Pillow", got="no module PIL", remedy="install holdfast[images]"
        ) from error
    return Image
