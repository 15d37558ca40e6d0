"""Parquet files of images as nested lists: ``X_jets`` of the official quark/gluon set, any leaf naming."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.data.readers.block import LABELS, Block, Buffer, Reader, Shape, named_channels

IMAGE = "X_jets"
CHANNELS = ("tracks", "ECAL", "HCAL")
UNITS = ("GeV", "GeV", "GeV")
CLASSES = ("gluon", "quark")
_REMEDY = "fetch or write the file again, or skip what cannot be read (on_corrupt=skip)"
_READ_VALUES = 3 << 17
"""Values decoded at once, eight jets: they fit in the cache, and are float32 before the next ones come."""

Rows = tuple[list[NDArray[Any]], dict[str, NDArray[Any]]]
"""Images (n, C, H, W), in several arrays where chunks or shapes differ, and the columns of all."""


class ParquetReader(Reader):
    """A Parquet file with one column of images, lists of lists of numbers, and numbers beside it.

    The official files have a row a row group and 3 × 125 × 125 doubles. Values go from the decoded buffers to
    float32 without becoming Python objects. Raises UsageError, DataError.
    """

    kind = "parquet"

    def __init__(
        self,
        path: Path,
        image: str | None = None,
        channels: tuple[str, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> None:
        self.path = path
        with _opened(path) as file:
            schema = file.schema_arrow
            self.image = _image_column(path, schema, image)
            self.types = {f.name: _numpy_type(f.type) for f in schema if _is_number(f.type)}
            counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            self.simulated = _true((schema.metadata or {}).get(b"simulated"))
        self._ends = np.cumsum(counts, dtype=np.int64)
        self.rows = int(self._ends[-1]) if len(counts) else 0
        self.label = next((name for name in LABELS if name in self.columns), None)
        self.shape = None
        self.shape = self._common_shape()
        official = self.shape is not None and self.shape[0] == 3 and self.image == IMAGE
        self.channels = named_channels(path, self.shape, channels, CHANNELS if official else None, "channels")
        self.units = named_channels(path, self.shape, units, UNITS if official else None, "units")
        self.classes = CLASSES if self.image == IMAGE and self.label else None

    def _common_shape(self) -> Shape | None:
        """The shape of the first, middle and last row that can be read, if they agree."""
        found = set()
        for row in sorted({0, self.rows // 2, self.rows - 1} if self.rows else ()):
            for block in self._blocks(1, row, row + 1, skip=True):
                if len(block):
                    found.add(block.images.shape[1:])
        return found.pop() if len(found) == 1 else None

    def _blocks(self, rows: int, start: int, stop: int, skip: bool) -> Iterator[Block]:
        buffer = Buffer(rows)
        with _opened(self.path) as file:
            at_once = min(rows, max(1, _READ_VALUES // int(np.prod(self.shape or (_READ_VALUES,)))))
            for first, end, read in self._read(file, at_once, start, stop, skip):
                if read is None:
                    yield from buffer.flush()
                    yield self.skipped(first, end - first)
                else:
                    yield from buffer.add(first, *read)
        yield from buffer.flush()

    def _read(
        self, file: pq.ParquetFile, rows: int, start: int, stop: int, skip: bool
    ) -> Iterator[tuple[int, int, Rows | None]]:
        """(first row, end, what is there or None if corrupt), few rows at a time to stay in the caches."""
        at = start
        while at < stop:
            group = int(np.searchsorted(self._ends, at, side="right"))
            end = min(stop, int(self._ends[group]))
            if self._ends[group] - self._start(group) > rows:
                yield from self._of_large_group(file, group, rows, at, end, skip)
            else:  # as many whole groups as fit
                fits = np.searchsorted(self._ends, self._start(group) + rows, side="right") - 1
                last = min(int(fits), int(np.searchsorted(self._ends, stop, side="left")))
                end = min(stop, int(self._ends[last]))
                yield from self._of_groups(file, list(range(group, last + 1)), at, end, skip)
            at = end

    def _of_groups(
        self, file: pq.ParquetFile, groups: list[int], at: int, end: int, skip: bool
    ) -> Iterator[tuple[int, int, Rows | None]]:
        """The rows ``at`` to ``end`` of whole groups; if they cannot be read together, one by one."""
        try:
            table = file.read_row_groups(groups, columns=[self.image, *self.columns], use_threads=False)
            table = table.slice(at - self._start(groups[0]), end - at)
            read = self._checked(table, end - at)
        except (pa.ArrowException, OSError, _RaggedError) as error:
            if len(groups) == 1:
                yield self._corrupt(groups[0], at, end, error, skip)
                return
            for group in groups:
                low, high = max(at, self._start(group)), min(end, int(self._ends[group]))
                yield from self._of_groups(file, [group], low, high, skip)
        else:
            yield at, end, read

    def _of_large_group(
        self, file: pq.ParquetFile, group: int, rows: int, at: int, end: int, skip: bool
    ) -> Iterator[tuple[int, int, Rows | None]]:
        """The rows ``at`` to ``end`` of one group that holds more than ``rows``."""
        names = [self.image, *self.columns]
        place = self._start(group)
        batches = file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False)
        while at < end:
            try:
                batch = next(batches, None)
                if batch is None:
                    raise _RaggedError(f"{place - self._start(group)} rows")
                low, high = max(at - place, 0), min(end - place, len(batch))
                place += len(batch)
                if low >= high:
                    continue
                read = self._checked(pa.Table.from_batches([batch.slice(low, high - low)]), high - low)
            except (pa.ArrowException, OSError, _RaggedError) as error:
                yield self._corrupt(group, at, end, error, skip)
                return
            yield at, place - len(batch) + high, read
            at = place - len(batch) + high

    def _checked(self, table: pa.Table, rows: int) -> Rows:
        """What is in ``table``. Raises _RaggedError unless there are ``rows`` images without holes."""
        if len(table) != rows:
            raise _RaggedError(f"{len(table)} rows instead of {rows}")
        images = [view for chunk in table.column(self.image).chunks for view in _dense(chunk)]
        return images, {name: table.column(name).to_numpy() for name in self.columns}

    def _start(self, group: int) -> int:
        return int(self._ends[group - 1]) if group else 0

    def _corrupt(
        self, group: int, at: int, end: int, error: Exception, skip: bool
    ) -> tuple[int, int, Rows | None]:
        """Rows to be left out if that was asked for. Raises DataError."""
        if skip:
            return at, end, None
        raise DataError(
            f"{self.path}, row group {group} (rows {self._start(group)} to {int(self._ends[group]) - 1})",
            expected="whole images",
            got=f"{type(error).__name__.strip('_')}: {error}".splitlines()[0],
            remedy=_REMEDY,
        ) from error


class _RaggedError(ValueError):
    """Lists that are no image."""


def _dense(array: pa.Array) -> list[NDArray[Any]]:
    """Views (n, C, H, W) of a list array; several where rows differ in shape. Raises _RaggedError."""
    try:
        return [_view(array)]
    except _RaggedError:
        if len(array) <= 1:
            raise
        return [_view(array.slice(row, 1)) for row in range(len(array))]


def _view(array: pa.Array) -> NDArray[Any]:
    shape = [len(array)]
    while _is_list(array.type):
        if array.null_count:
            raise _RaggedError("an absent list")
        if pa.types.is_fixed_size_list(array.type):
            shape.append(array.type.list_size)
        else:
            lengths = np.diff(array.offsets.to_numpy())
            if len(lengths) and lengths.min() != lengths.max():
                raise _RaggedError(f"lists of {lengths.min()} to {lengths.max()} values")
            shape.append(int(lengths[0]) if len(lengths) else 0)
        array = array.flatten()
    if array.null_count:
        raise _RaggedError("absent values")
    if 0 in shape[1:]:
        raise _RaggedError("empty lists")
    values: NDArray[Any] = array.to_numpy(zero_copy_only=True).reshape(shape)
    return values[:, None] if values.ndim == 3 else values


def _image_column(path: Path, schema: pa.Schema, asked: str | None) -> str:
    deep: list[str] = [f.name for f in schema if _depth(f.type) in (2, 3)]
    wanted = asked or (IMAGE if IMAGE in deep else None)
    if wanted is None and len(deep) == 1:
        return deep[0]
    if wanted in deep:
        return str(wanted)
    raise DataError(
        str(path),
        expected=f"a column {asked or IMAGE} of images, lists of lists of numbers",
        got=f"columns {', '.join(f'{f.name} ({f.type})' for f in schema) or 'none'}",
        remedy=f"name one of {', '.join(deep)} (image=)" if deep else "check that it is the right file",
    )


def _depth(kind: pa.DataType) -> int:
    """How many lists are around numbers; 0 for anything else."""
    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth if _is_number(kind) else 0


def _is_list(kind: pa.DataType) -> bool:
    is_kind = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in is_kind)


def _is_number(kind: pa.DataType) -> bool:
    is_kind = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    return any(check(kind) for check in is_kind)


def _numpy_type(kind: pa.DataType) -> str:
    return str(pa.array([], kind).to_numpy(zero_copy_only=False).dtype.str)


def _true(value: bytes | None) -> bool:
    return value is not None and value.lower() in (b"true", b"1")


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The file with its footer read. Raises DataError."""
    try:
        stat = path.stat()
        footer = _footer(path, stat.st_size, stat.st_mtime_ns)
        file = pq.ParquetFile(path, metadata=footer, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            str(path),
            expected="a whole Parquet file",
            got=str(error).splitlines()[0],
            remedy="the file is truncated or damaged: fetch it again",
        ) from error
    with file:
        yield file


@lru_cache(maxsize=4)
def _footer(path: Path, size: int, mtime_ns: int) -> pq.FileMetaData:
    """The metadata of a file, which take long to read where every row is a group."""
    return pq.read_metadata(path)
