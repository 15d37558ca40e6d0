"""Converted data (``data.conversion``) as a table that is streamed like any other data set."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from holdfast.core.canonical import content_hash
from holdfast.core.errors import DataError
from holdfast.data.conversion.layout import REMEDY, SPLITS, read_attributes
from holdfast.data.schema import reading
from holdfast.data.table import Images, Indices, Table
from holdfast.data.transforms import gev_of


class ConvertedTable(Table):
    """The events of ``folder``/{train,val,test}.h5; their splits are those of the files.

    Images come as they were written: transformed, with ``transform`` saying how. A damaged chunk is noticed
    by its checksum when it is read. The fingerprint is that of the contents as written. Raises DataError.
    """

    official = None
    value_range = None

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / f"{split}.h5" for split in SPLITS]
        found = [read_attributes(path) for path in self.paths]
        for path, attributes in zip(self.paths[1:], found[1:], strict=True):
            if attributes["conversion"] != found[0]["conversion"]:
                raise DataError(
                    str(path), expected="the same conversion in all files", got="another", remedy=REMEDY
                )
        first = found[0]
        self.name, self.simulated = str(first["name"]), bool(first["simulated"])
        self.classes = tuple(first["classes"])
        self.channels, self.units = tuple(first["channels"]), tuple(first["units"])
        self.transform = tuple(first["transform"])
        gev = tuple(map(gev_of, self.units))
        self.unit_gev = gev if any(unit is not None for unit in gev) else None
        self.fingerprint = content_hash([attributes["content"] for attributes in found])
        labels, parts, rows, placed = [], [], [], []
        for number, path in enumerate(self.paths):
            with reading(path), h5py.File(path, "r") as file:
                images = file["images"]
                shape, chunk = images.shape[1:], images.chunks[0]
                labels.append(file["label"][:])
                source = file["source"][:].astype(np.int64)
            parts.append(number * len(first["sources"]) + source)
            rows.append(np.arange(len(source)))
            placed.append(np.full(len(source), number, dtype=np.int8))
        self.shape, self.block_rows = shape, chunk
        self.labels = np.concatenate(labels)
        self.part = np.concatenate(parts)
        self.row = np.concatenate(rows)
        self.placed = self._files = np.concatenate(placed)

    def images(self, indices: Indices) -> Images:
        """Images (k, C, H, W) float32 of the events ``indices`` (k,), ascending. Raises DataError."""
        images = np.empty((len(indices), *self.shape), dtype=np.float32)
        files = self._files[indices]
        for number, path in enumerate(self.paths):
            low, high = np.searchsorted(files, [number, number + 1])
            if low < high:
                self._read(path, self.row[indices[low:high]], images[low:high])
        return images

    def _read(self, path: Path, rows: Indices, out: Images) -> None:
        """Read ascending ``rows`` of ``path`` into ``out``, a run of neighbouring chunks at a time."""
        chunk = rows // self.block_rows
        starts = np.flatnonzero(np.append(True, np.diff(chunk) > 1))
        with reading(path), h5py.File(path, "r") as file:
            source = file["images"]
            for low, high in zip(starts, np.append(starts[1:], len(rows)), strict=True):
                first, last = int(rows[low]), int(rows[high - 1]) + 1
                if high - low == last - first:
                    source.read_direct(out, np.s_[first:last], np.s_[low:high])
                else:
                    out[low:high] = source[first:last][rows[low:high] - first]
