"""What is in files of detector images: one pass over them in bounded memory, by shape and by class."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError, UsageError
from holdfast.data.duplicates import Duplicates, HashFiles, find_duplicates, parts_for
from holdfast.data.groups import Columns, Group
from holdfast.data.readers import Block, OnCorrupt, Reader, open_reader
from holdfast.data.statistics import ScalarMoments

TELLING = {"m0", "energy: phi width"}
"""Quantities that tell what a label means: kept file by file."""
_COUNTERS = {"event", "source", "row"}
"""Columns that number events: their spectra would say nothing."""
_TASK_BLOCKS = 64
Key = tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]
_Answer = tuple[dict["Key", "Group"], int, int, dict[str, str]]


@dataclass
class FileFound:
    """One file: what its reader says, and how many rows were ``read`` and ``skipped``; or its ``error``.

    ``means`` are those of the ``TELLING`` quantities by quantity and label.
    """

    path: Path
    bytes: int
    reader: Reader | None = None
    error: str | None = None
    read: int = 0
    skipped: int = 0
    types: dict[str, str] = field(default_factory=dict)
    means: dict[tuple[str, str], ScalarMoments] = field(default_factory=dict)

    def add(self, group: Group) -> None:
        """Add what was found in some of its rows."""
        for label, counted in group.classes.items():
            for quantity in TELLING & counted.quantities.keys():
                values = counted.quantities[quantity]
                if values.n:
                    mine = self.means.setdefault((quantity, label), ScalarMoments())
                    mine.combine(values.n, values.mean, values.m2)


@dataclass
class Survey:
    """What ``survey`` found."""

    files: list[FileFound]
    groups: list[Group]
    duplicates: Duplicates


@dataclass(frozen=True)
class _Task:
    """Rows ``start`` to ``stop`` of one file."""

    number: int
    reader: Reader
    start: int
    stop: int
    on_corrupt: OnCorrupt
    folder: Path
    parts: int

    def __call__(self) -> _Answer:
        """Groups, rows read, rows skipped, and types of the columns."""
        groups: dict[Key, Group] = {}
        hashes = HashFiles(self.folder, self.number, self.parts)
        read = skipped = 0
        types: dict[str, str] = {}
        for block in self.reader.blocks(start=self.start, stop=self.stop, on_corrupt=self.on_corrupt):
            skipped += block.skipped
            if not len(block):
                continue
            read += len(block)
            types |= {name: str(values.dtype) for name, values in block.columns.items()}
            labels, columns = _columns(self.reader, block)
            hashes.add(block.first, block.images, labels)
            group = self._group(groups, block.images.shape[1:])
            group.add(block.images, labels, columns)
            group.simulated += len(block) * self.reader.simulated
        return groups, read, skipped, types

    def _group(self, groups: dict[Key, Group], shape: tuple[int, ...]) -> Group:
        given = len(self.reader.channels) == shape[0]
        channels = self.reader.channels if given else unnamed(shape[0])
        units = self.reader.units if given else ("",) * shape[0]
        group = groups.setdefault(
            (channels, units, shape), Group(channels, units, shape, np.zeros(shape, dtype=np.int64))
        )
        group.files.add(self.number)
        if self.reader.classes:
            group.names.add(self.reader.classes)
        return group


def survey(
    paths: Sequence[Path],
    *,
    on_corrupt: OnCorrupt = "stop",
    image: str | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    executor: Executor | None = None,
    ahead: int = 4,
    scratch: Path | None = None,
    advance: Callable[[int], object] = lambda rows: None,
) -> Survey:
    """Read every event of ``paths`` once and count it; the answer does not depend on ``executor``.

    ``image`` names the images where several arrays could be meant; ``channels`` and ``units`` are those of
    the files that do not say themselves and have as many channels.

    Memory holds one block of images and one set of counters a process, ``ahead`` more sets that wait to be
    merged, and 2²¹ hashes; ``scratch`` takes 22 bytes an event while it runs. A damaged file or row raises
    DataError; with ``on_corrupt="skip"`` it is counted. ``advance(rows)`` is called as rows are done.
    """
    if not paths:
        raise UsageError("files", expected="at least one file", got="none")
    given = {"channels": channels, "units": units}
    files = [_open(path, on_corrupt, image, given) for path in paths]
    readers = [(number, found.reader) for number, found in enumerate(files) if found.reader is not None]
    parts = parts_for(sum(reader.rows for _, reader in readers))
    groups: dict[Key, Group] = {}
    with TemporaryDirectory(prefix="hashes-", dir=scratch) as folder:
        tasks = (
            _Task(number, reader, start, min(start + step, reader.rows), on_corrupt, Path(folder), parts)
            for number, reader in readers
            for step in (_TASK_BLOCKS * reader.block_rows,)
            for start in range(0, reader.rows, step)
        )
        for task, (found, read, skipped, types) in _in_order(tasks, executor, ahead):
            file = files[task.number]
            file.read, file.skipped, file.types = file.read + read, file.skipped + skipped, types
            for key, group in found.items():
                file.add(group)
                if key in groups:
                    groups[key].merge(group)
                else:
                    groups[key] = group
            advance(task.stop - task.start)
        duplicates = find_duplicates(Path(folder), parts)
    return Survey(files, list(groups.values()), duplicates)


def _open(
    path: Path, on_corrupt: OnCorrupt, image: str | None, given: Mapping[str, Sequence[str] | None]
) -> FileFound:
    found = FileFound(path, 0)
    with suppress(OSError):
        found.bytes = path.stat().st_size
    try:
        found.reader = open_told(path, image=image, **given)
    except DataError as error:
        if on_corrupt == "stop":
            raise
        found.error = str(error)
    return found


def open_told(
    path: Path,
    *,
    image: str | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
) -> Reader:
    """The reader of ``path``; ``channels`` and ``units`` count if the file does not say and has as many.

    Raises UsageError, DataError.
    """
    reader = open_reader(path, image=image)
    count = len(reader.channels)
    silent = {"channels": reader.channels == unnamed(count), "units": not any(reader.units)}
    given = {"channels": channels, "units": units}
    told = {name: texts for name, texts in given.items() if texts and silent[name] and len(texts) == count}
    return open_reader(path, image=image, **told) if told else reader


def unnamed(channels: int) -> tuple[str, ...]:
    """What readers call the channels of a file that does not name them."""
    return tuple(f"channel {number}" for number in range(channels))


def _columns(reader: Reader, block: Block) -> tuple[NDArray[np.int64] | None, Columns]:
    """Labels, and the other columns; a label that is no whole number counts as −1."""
    columns = {name: np.asarray(values) for name, values in block.columns.items() if name not in _COUNTERS}
    given = columns.pop(reader.label, None) if reader.label else None
    if given is None:
        return None, columns
    whole = np.isfinite(given) & (given == np.round(given)) & (np.abs(given) < 2**15)
    return np.where(whole, given, -1).astype(np.int64), columns


def _in_order(
    tasks: Iterator[_Task], executor: Executor | None, ahead: int
) -> Iterator[tuple[_Task, _Answer]]:
    """Every task with its answer, in order; at most ``ahead`` are under way at once."""
    if executor is None:
        yield from ((task, task()) for task in tasks)
        return
    waiting: deque[tuple[_Task, Future[_Answer]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, executor.submit(task)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
