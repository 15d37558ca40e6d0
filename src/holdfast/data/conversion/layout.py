"""The layout of converted data: DIR/{train,val,test}.h5, each whole in itself.

images (n, C, H, W) float32 and label, event, source, row, columns/NAME (n,): chunked, LZF, Fletcher-32.
What they mean stands in the attributes; docs/data.md has the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.data.schema import reading

LAYOUT = "holdfast.images/1"
SPLITS = ("train", "val", "test")
_CHUNK_BYTES = 512 << 10
_CACHE_BYTES = 8 << 20
_SCALARS = {"label": "<i8", "event": "<u8", "source": "<i4", "row": "<i8"}
REMEDY = "convert the data again"

Arrays = Mapping[str, NDArray[Any]]


class Writer:
    """Appends events to the arrays of a file or group; their number need not be known before.

    The content hash covers values, types and names, not how they were cut or compressed.
    """

    def __init__(self, group: h5py.Group, shape: tuple[int, int, int], columns: Mapping[str, str]) -> None:
        self._rows = max(1, _CHUNK_BYTES // (4 * int(np.prod(shape))))
        self._arrays = {"images": self._create(group, "images", "<f4", shape)}
        kinds = {**_SCALARS, **{f"columns/{name}": kind for name, kind in columns.items()}}
        for name, kind in kinds.items():
            self._arrays[name] = self._create(group, name, kind, ())
        self._hashes = {
            name: hashlib.sha256(array.dtype.str.encode()) for name, array in self._arrays.items()
        }
        self.n = 0

    def _create(self, group: h5py.Group, name: str, kind: str, shape: tuple[int, ...]) -> h5py.Dataset:
        return group.create_dataset(
            name,
            (0, *shape),
            dtype=kind,
            maxshape=(None, *shape),
            chunks=(self._rows if shape else 8192, *shape),
            compression="lzf",
            fletcher32=True,
        )

    def append(self, arrays: Arrays) -> None:
        """Add events: one array (n, …) for each name of the layout."""
        count = len(arrays["images"])
        for name, array in self._arrays.items():
            values = np.ascontiguousarray(arrays[name], dtype=array.dtype)
            array.resize(self.n + count, axis=0)
            array[self.n :] = values
            self._hashes[name].update(values.tobytes())
        self.n += count

    @property
    def content(self) -> str:
        """SHA-256 (64 hex digits) of all that was appended."""
        return _combined({name: digest.hexdigest() for name, digest in self._hashes.items()})


@contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """A new file with a chunk cache that holds every chunk until it is full."""
    with h5py.File(path, "w", rdcc_nbytes=_CACHE_BYTES, rdcc_w0=1.0) as file:
        yield file


def arrays_of(group: h5py.Group, low: int, high: int) -> dict[str, NDArray[Any]]:
    """Events ``low`` to ``high`` of a group that a Writer filled."""
    return {name: group[name][low:high] for name in names_in(group)}


def names_in(group: h5py.Group) -> list[str]:
    """The arrays of a group that a Writer filled."""
    return ["images", *_SCALARS, *(f"columns/{name}" for name in group.get("columns", ()))]


def is_converted(folder: Path) -> bool:
    """Whether ``folder`` has the files of a conversion."""
    return all((folder / f"{split}.h5").is_file() for split in SPLITS)


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of one split's file, JSON decoded. Raises DataError."""
    with reading(path), h5py.File(path, "r") as file:
        attributes = {key: _plain(value) for key, value in file.attrs.items()}
    if attributes.get("layout") != LAYOUT:
        got = attributes.get("layout", "an HDF5 file without the attribute layout")
        raise DataError(str(path), expected=f"the layout {LAYOUT}", got=got, remedy=REMEDY)
    try:
        for key in (
            "channels",
            "units",
            "classes",
            "transform",
            "sources",
            "conversion",
            "evidence",
            "counts",
        ):
            attributes[key] = json.loads(attributes[key])
    except (KeyError, ValueError) as error:
        raise DataError(
            str(path), expected=f"the attributes of {LAYOUT}", got=repr(error), remedy=REMEDY
        ) from error
    return attributes


def verify(folder: Path | str) -> None:
    """Read all of a conversion again and compare its content with the hashes in it. Raises DataError."""
    for split in SPLITS:
        path = Path(folder) / f"{split}.h5"
        expected = read_attributes(path).get("content")
        with reading(path), h5py.File(path, "r") as file:
            found = content_of(file)
        if found != expected:
            raise DataError(
                str(path),
                expected=f"content {expected}",
                got=found,
                remedy="the data were changed: " + REMEDY,
            )


def content_of(group: h5py.Group) -> str:
    """The content hash of arrays as ``Writer.content`` gives it, in bounded memory."""
    digests = {}
    for name in names_in(group):
        array = group[name]
        digest = hashlib.sha256(array.dtype.str.encode())
        step = max(1, _CACHE_BYTES // (array.dtype.itemsize * max(1, int(np.prod(array.shape[1:])))))
        for low in range(0, len(array), step):
            digest.update(array[low : low + step].tobytes())
        digests[name] = digest.hexdigest()
    return _combined(digests)


def _combined(digests: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
