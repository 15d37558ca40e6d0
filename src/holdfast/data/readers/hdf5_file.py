"""HDF5 files of images: the ML4SCI layout (``X``, ``y``), Holdfast's own, or any array of images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from holdfast.core.errors import DataError
from holdfast.data import schema
from holdfast.data.readers.block import (
    LABELS,
    Block,
    Reader,
    as_images,
    image_shape,
    named_channels,
    pick_image,
)

CHANNELS_FIRST = "holdfast.images/"
KEYS = ("X", "images")
CLASSES = ("photon", "electron")
CHANNELS, UNITS = ("energy", "time"), ("50 GeV", "50 ns")


class Hdf5Reader(Reader):
    """An HDF5 file with an array of images (N, H, W, C), (N, C, H, W) or (N, H, W) and arrays (N,).

    Files of (N, 32, 32, 2) images under ``X`` are taken for electrons and photons in the ML4SCI layout.
    Attributes ``channels``, ``units``, ``classes`` (JSON lists) and ``simulated`` are honoured.
    Raises DataError.
    """

    kind = "hdf5"

    def __init__(
        self,
        path: Path,
        image: str | None = None,
        channels: tuple[str, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> None:
        self.path = path
        with schema.reading(path), h5py.File(path, "r") as file:
            arrays = {key: file[key].shape for key in _datasets(file)}
            self.image = pick_image(path, arrays, image, KEYS)
            shape = arrays[self.image]
            attributes = dict(file.attrs)
            self._places = {
                key.removeprefix("columns/"): key
                for key, found in arrays.items()
                if found == shape[:1] and file[key].dtype.kind in "fiub"
            }
            self.types = {name: file[key].dtype.str for name, key in self._places.items()}
        self.first = str(attributes.get("layout", "")).startswith(CHANNELS_FIRST)
        self.rows, self.shape = int(shape[0]), image_shape(shape, self.first)
        ml4sci = self.image == "X" and shape[1:] == (schema.SIZE, schema.SIZE, 2)
        known_channels = _texts(attributes, "channels") or (CHANNELS if ml4sci else None)
        known_units = _texts(attributes, "units") or (UNITS if ml4sci else None)
        self.channels = named_channels(path, self.shape, channels, known_channels, "channels")
        self.units = named_channels(path, self.shape, units, known_units, "units")
        self.label = next((name for name in LABELS if name in self.columns), None)
        self.classes = _texts(attributes, "classes") or (CLASSES if ml4sci and self.label else None)
        self.simulated = bool(attributes.get("simulated", False))

    def _blocks(self, rows: int, start: int, stop: int, skip: bool) -> Iterator[Block]:
        with schema.reading(self.path), h5py.File(self.path, "r") as file:
            for low in range(start, stop, rows):
                high = min(low + rows, stop)
                yield from self._block(file, low, high, skip)

    def _block(self, file: h5py.File, low: int, high: int, skip: bool) -> Iterator[Block]:
        """Rows ``low`` to ``high``; if they cannot be read together, halved until the bad ones are found."""
        try:
            columns = {name: file[key][low:high] for name, key in self._places.items()}
            yield Block(low, as_images(file[self.image][low:high], self.first), columns)
        except (OSError, RuntimeError) as error:
            if high - low > 1:
                middle = (low + high) // 2
                yield from self._block(file, low, middle, skip)
                yield from self._block(file, middle, high, skip)
            elif skip:
                yield self.skipped(low, 1)
            else:
                raise DataError(
                    f"{self.path}, row {low}",
                    expected="a whole HDF5 chunk",
                    got=str(error),
                    remedy="fetch or write the file again, or skip what cannot be read (on_corrupt=skip)",
                ) from error


def _datasets(file: h5py.File) -> list[str]:
    """Names of the arrays at the top, and of those in the group ``columns`` of converted data."""
    top = [key for key, item in file.items() if isinstance(item, h5py.Dataset)]
    return [*top, *(f"columns/{key}" for key in file.get("columns", ()))]


def _texts(attributes: dict[str, Any], name: str) -> tuple[str, ...] | None:
    """A JSON list of texts among the attributes, if it is one."""
    try:
        value = json.loads(attributes[name])
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, value)) if isinstance(value, list) and value else None
