"""MNIST in its official idx-ubyte layout, gzipped or not (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.data.lookup import find
from holdfast.data.table import PixelTable, files_fingerprint

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_FOLDERS = ("", "mnist/", "MNIST/", "MNIST/raw/")
_UNSIGNED_BYTE = 8
_MAX_BYTES = 1 << 30


def mnist() -> PixelTable:
    """Images (1, 28, 28) of the classes 0 to 9 with the official test set. Raises DataError."""
    paths = {name: _find(name) for names in _FILES.values() for name in names}
    images, labels, official = [], [], []
    for part, (image_name, label_name) in _FILES.items():
        pixels, numbers = read_idx(paths[image_name], 3), read_idx(paths[label_name], 1)
        if len(pixels) != len(numbers):
            raise DataError(
                str(paths[label_name]), expected=f"{len(pixels)} labels, one an image", got=len(numbers)
            )
        if len(numbers) and numbers.max() > 9:
            raise DataError(str(paths[label_name]), expected="labels 0 to 9", got=int(numbers.max()))
        images.append(pixels)
        labels.append(numbers.astype(np.int64))
        official.append(np.full(len(numbers), part == "test"))
    if images[0].shape[1:] != images[1].shape[1:]:
        raise DataError(
            "mnist", expected="images of one size", got=f"{images[0].shape} and {images[1].shape}"
        )
    return PixelTable(
        "mnist",
        np.concatenate(images)[:, None],
        np.concatenate(labels),
        [str(digit) for digit in range(10)],
        fingerprint=files_fingerprint([paths[name] for name in sorted(paths)]),
        official=np.concatenate(official),
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, gzipped if its name ends in .gz. Raises DataError."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            str(path), expected="a whole idx file", got=str(error), remedy="fetch the file again"
        ) from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
        raise DataError(
            str(path), expected=f"an idx file of bytes in {dimensions} dimensions", got=data[:4].hex()
        )
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, 4))
    if len(data) - header != prod(shape):
        raise DataError(
            str(path),
            expected=f"{prod(shape)} bytes for shape {shape}",
            got=len(data) - header,
            remedy="the file is truncated or damaged: fetch it again",
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _find(name: str) -> Path:
    return find("mnist", [folder + name + end for end in (".gz", "") for folder in _FOLDERS])
