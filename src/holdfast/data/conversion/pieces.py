"""One piece of work: some rows of one file, read, checked, split by content, transformed as far as known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from holdfast.core import seeding
from holdfast.core.errors import DataError
from holdfast.core.paths import atomic_path
from holdfast.data.conversion import evidence
from holdfast.data.conversion.layout import SPLITS, Arrays, Writer, created
from holdfast.data.event_hash import event_hashes
from holdfast.data.readers import Block, OnCorrupt, Reader, open_reader
from holdfast.data.splits import uniform
from holdfast.data.transforms import Moments, Pipeline

_BLOCK_BYTES = 8 << 20
_EVIDENCE_ROWS, _SMALL = 256, 4096


@dataclass(frozen=True)
class Task:
    """What is the same for all pieces of a conversion.

    ``before`` is the pipeline up to the step that learns; ``shares`` of events go to train and val.
    """

    shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    before: tuple[Any, ...]
    learns: bool
    label: str
    classes: int | None
    columns: tuple[tuple[str, str], ...]
    image: str | None
    seed: int
    shares: tuple[float, float]
    on_corrupt: OnCorrupt


@dataclass(frozen=True)
class Piece:
    """Rows ``start`` to ``stop`` of the file ``path``, the ``source``-th of the conversion."""

    path: Path
    source: int
    start: int
    stop: int


@dataclass(frozen=True)
class Found:
    """What a piece held: events a split and label, rows skipped, moments of training images, evidence."""

    counts: dict[str, dict[str, int]]
    skipped: int
    moments: Moments | None
    sums: evidence.Sums


def make(piece: Piece, task: Task, target: Path) -> None:
    """Write the piece's events by split to ``target``, atomically. Raises DataError, StorageError."""
    reader = _reader(piece.path, task.image, piece.path.stat().st_mtime_ns)
    before = Pipeline(task.before)
    skipped, moments, sums = 0, None, []
    counts: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    rows = max(1, _BLOCK_BYTES // (4 * int(np.prod(task.shape))))
    with atomic_path(target) as temporary, created(temporary) as file:
        writers = {s: Writer(file.create_group(s), task.out_shape, dict(task.columns)) for s in SPLITS}
        for block in reader.blocks(rows, start=piece.start, stop=piece.stop, on_corrupt=task.on_corrupt):
            skipped += block.skipped
            if not len(block):
                continue
            labels = _checked(block, piece.path, task)
            events = event_hashes(block.images)
            split = assign(events, task.seed, task.shares)
            images = before.apply(block.images)
            cheap = "m0" in block.columns or np.prod(task.shape) <= _SMALL
            seen = len(block) if cheap else piece.start + _EVIDENCE_ROWS - block.first
            if seen > 0:
                columns = {name: values[:seen] for name, values in block.columns.items()}
                sums.append(evidence.observed(Block(0, block.images[:seen], columns), labels[:seen]))
            arrays: dict[str, NDArray[Any]] = {
                "images": images,
                "label": labels,
                "event": events,
                "source": np.full(len(block), piece.source),
                "row": block.first + np.arange(len(block)),
                **{f"columns/{name}": block.columns[name] for name, _ in task.columns},
            }
            for number, (name, writer) in enumerate(writers.items()):
                chosen = _taken(arrays, np.flatnonzero(split == number))
                writer.append(chosen)
                for label, count in zip(*np.unique(chosen["label"], return_counts=True), strict=True):
                    counts[name][str(label)] = counts[name].get(str(label), 0) + int(count)
                if task.learns and name == "train" and len(chosen["label"]):
                    block_moments = Moments.of(np.asarray(chosen["images"]))
                    moments = block_moments if moments is None else moments.merged(block_moments)
        file.attrs["found"] = json.dumps(
            {
                "counts": counts,
                "skipped": skipped,
                "moments": None
                if moments is None
                else [moments.count, moments.mean.tolist(), moments.squares.tolist()],
                "sums": evidence.merged(sums),
            }
        )


def read_found(path: Path) -> Found:
    """What ``make`` noted in the file of a piece."""
    with h5py.File(path, "r") as file:
        found = json.loads(file.attrs["found"])
    if found["moments"] is not None:
        count, mean, squares = found["moments"]
        found["moments"] = Moments(count, np.array(mean), np.array(squares))
    return Found(**found)


def assign(events: NDArray[np.uint64], seed: int, shares: tuple[float, float]) -> NDArray[np.int64]:
    """0 (train), 1 (val) or 2 (test) of each event hash (n,): the same wherever the event comes from."""
    place = uniform(events.view(np.int64), seeding.derive(seed, "event split"))
    return np.searchsorted(np.cumsum(shares), place, side="right").astype(np.int64)


def _checked(block: Block, path: Path, task: Task) -> NDArray[np.int64]:
    """The labels of a block that is as the conversion needs it. Raises DataError."""
    if block.images.shape[1:] != task.shape:
        raise DataError(
            f"{path}, row {block.first}",
            expected=f"images of shape {task.shape}, as before",
            got=f"shape {block.images.shape[1:]}",
            remedy="convert images of different shapes apart",
        )
    finite = np.isfinite(block.images.reshape(len(block), -1).sum(axis=1))
    if not finite.all():
        row = block.first + int(np.argmin(finite))
        raise DataError(
            f"{path}, row {row}",
            expected="finite values",
            got=f"NaN or infinity in {int((~finite).sum())} of {len(block)} images",
            remedy="remove these events",
        )
    given = block.columns[task.label]
    with np.errstate(invalid="ignore"):  # NaN is found below
        labels: NDArray[np.int64] = given.astype(np.int64)
    limit = np.inf if task.classes is None else task.classes
    wrong = (labels != given) | (labels < 0) | (labels >= limit)
    if wrong.any():
        row = int(np.argmax(wrong))
        expected = "labels 0, 1, …" if task.classes is None else f"labels 0 to {task.classes - 1}"
        raise DataError(
            f"{path}, row {block.first + row}, {task.label}",
            expected=expected,
            got=given[row],
            remedy="name the classes of all labels (classes)",
        )
    return labels


def _taken(arrays: Arrays, chosen: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {name: values[chosen] for name, values in arrays.items()}


@lru_cache(maxsize=4)
def _reader(path: Path, image: str | None, mtime_ns: int) -> Reader:
    """A file's reader, kept between its pieces."""
    return open_reader(path, image=image)
