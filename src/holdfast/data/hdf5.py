"""Electron/photon images in the official ML4SCI HDF5 layout, published and simulated alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from holdfast.core.errors import DataError
from holdfast.data import schema
from holdfast.data.table import Images, Indices, Table, files_fingerprint

SUFFIXES = (".hdf5", ".h5")
CLASSES = ("photon", "electron")


class ShowerTable(Table):
    """Events of one or several files, sorted by name: channels energy / 50 GeV and time / 50 ns.

    Opening checks layout and labels of all events, and scale, seed position and label convention on a
    sample (``schema``). Reading checks every image for non-finite values. Raises DataError.
    """

    shape = (2, schema.SIZE, schema.SIZE)
    classes = CLASSES
    official = None
    block_rows = 128
    unit_gev = (schema.ENERGY_UNIT_GEV, None)
    value_range = None
    channels = ("energy", "time")
    units = ("50 GeV", "50 ns")

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = sorted(paths, key=lambda path: (path.name, str(path)))
        files = [_inspect(path) for path in self.paths]
        schema.check_label_convention([file.sample for file in files])
        self.labels = np.concatenate([file.labels for file in files])
        rows = [len(file.labels) for file in files]
        self.part = np.repeat(np.arange(len(files)), rows)
        self.row = np.concatenate([np.arange(count) for count in rows])
        # A mixture with real images is not simulated as a whole, but no longer real either.
        self.simulated = any(file.simulated for file in files)
        self.name = "egamma-simulated" if self.simulated else "egamma"
        self.fingerprint = files_fingerprint(self.paths)

    def images(self, indices: Indices) -> Images:
        """Images (k, 2, 32, 32) float32 of the events ``indices`` (k,), ascending. Raises DataError."""
        images = np.empty((len(indices), *self.shape), dtype=np.float32)
        parts, rows = self.part[indices], self.row[indices]
        for part in np.unique(parts):
            low, high = np.searchsorted(parts, [part, part + 1])
            _read(self.paths[part], rows[low:high], self.block_rows, images[low:high])
        return images


def _inspect(path: Path) -> schema.Inspected:
    stat = path.stat() if path.is_file() else None
    if stat is None:
        raise DataError(str(path), expected="an HDF5 file", got="no such file", remedy="check the path")
    return _inspect_once(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _inspect_once(path: Path, size: int, mtime_ns: int) -> schema.Inspected:
    return schema.inspect(path)


def _read(path: Path, rows: Indices, block_rows: int, out: Images) -> None:
    """Read ascending ``rows`` of ``path`` into ``out``, a block at a time."""
    block = rows // block_rows
    starts = np.flatnonzero(np.append(True, np.diff(block) != 0))
    with schema.reading(path), h5py.File(path, "r") as file:
        source = file["X"]
        for low, high in zip(starts, np.append(starts[1:], len(rows)), strict=True):
            first, last = rows[low], rows[high - 1] + 1
            values = source[first:last]
            if high - low < last - first:
                values = values[rows[low:high] - first]
            schema.check_finite(path, values, rows[low:high])
            out[low:high] = np.moveaxis(values, -1, 1)
