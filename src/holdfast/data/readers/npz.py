"""NumPy archives of images: arrays ``X`` and ``y``, as the energy images taken from the ML4SCI set."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.data.readers.block import (
    LABELS,
    Block,
    Reader,
    as_images,
    image_shape,
    named_channels,
    pick_image,
)

KEYS = ("X", "images", "x")


class NpzReader(Reader):
    """An archive with images (N, H, W), (N, H, W, C) or (N, C, H, W) and arrays (N,) beside them.

    Arrays are read from the archive row by row, never as a whole; Python objects in it are refused. Units and
    meaning of the labels are unknown unless given. Raises DataError.
    """

    kind = "npz"

    def __init__(
        self,
        path: Path,
        image: str | None = None,
        channels: tuple[str, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> None:
        self.path = path
        with _archive(path) as archive:
            found = {}
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        found[name.removesuffix(".npy")] = _header(path, name, file)
        shapes = {name: shape for name, (shape, _, _) in found.items()}
        self.image = pick_image(path, shapes, image, KEYS)
        shape = shapes[self.image]
        self.types = {
            name: kind.str for name, (s, _, kind) in found.items() if s == shape[:1] and kind.kind in "fiub"
        }
        self.rows, self.shape = shape[0], image_shape(shape)
        self.channels = named_channels(path, self.shape, channels, None, "channels")
        self.units = named_channels(path, self.shape, units, None, "units")
        self.label = next((name for name in LABELS if name in self.columns), None)
        self.classes = None
        self.simulated = False

    def _blocks(self, rows: int, start: int, stop: int, skip: bool) -> Iterator[Block]:
        with _archive(self.path) as archive:
            columns = {name: self._column(archive, name) for name in self.columns}
            with archive.open(f"{self.image}.npy") as file:
                shape, fortran, kind = _header(self.path, self.image, file)
                if fortran:
                    raise DataError(
                        f"{self.path}, {self.image}", expected="an array in C order", got="Fortran order"
                    )
                size = int(np.prod(shape[1:])) * kind.itemsize
                _pass_over(file, start * size)
                for low in range(start, stop, rows):
                    high = min(low + rows, stop)
                    try:
                        values = np.frombuffer(_exactly(file, (high - low) * size), dtype=kind)
                    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                        if not skip:
                            raise DataError(
                                f"{self.path}, rows {low} to {high - 1}",
                                expected="a whole archive",
                                got=str(error),
                                remedy="fetch or write the file again, or skip what cannot be read",
                            ) from error
                        yield self.skipped(low, stop - low)  # nothing behind damage can be inflated
                        return
                    images = as_images(values.reshape(-1, *shape[1:]))
                    yield Block(low, images, {name: array[low:high] for name, array in columns.items()})

    def _column(self, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
        with archive.open(f"{name}.npy") as file:
            values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return values


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        remedy = "the file is truncated or damaged: fetch it again"
        raise DataError(str(path), expected="a whole NPZ archive", got=str(error), remedy=remedy) from error
    with archive:
        yield archive


def _header(path: Path, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and type of the array that follows in ``file``."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, kind = read[version](file)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}, {name}", expected="a NumPy array", got=str(error)) from error
    return tuple(shape), bool(fortran), kind


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError(f"the array ends {size - len(data)} bytes early")
    return data


def _pass_over(file: IO[bytes], size: int) -> None:
    while size > 0:
        size -= len(_exactly(file, min(size, 1 << 20)))
