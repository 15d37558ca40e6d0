"""What a data set must offer to be streamed: labels in memory, images by row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.core.canonical import content_hash, hash_file

Indices = NDArray[np.int64]
Images = NDArray[np.float32]


class Table(Protocol):
    """A data set of n events in one or several files.

    ``labels`` (n,) int64 index ``classes``; ``part`` (n,) int64 is the file each event is in, ascending, and
    ``row`` (n,) int64 its number within it; ``official`` (n,) bool marks the official test set, or is None
    where there is none; ``placed`` (n,) int8 is 0, 1 or 2 for train, val and test where events have a fixed
    split. ``channels`` and ``units`` are texts, ``transform`` the steps that made the images what they are
    (``data.transforms``), each None if unknown. Neighbouring ``block_rows`` rows are read at once. Tables
    hold no open files, so that they may be sent to other processes.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labels: Indices
    part: Indices
    row: Indices
    official: NDArray[np.bool_] | None
    placed: NDArray[np.int8] | None = None
    block_rows: int
    unit_gev: tuple[float | None, ...] | None
    value_range: tuple[float, float] | None
    simulated: bool
    fingerprint: str
    channels: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    transform: tuple[dict[str, Any], ...] | None = None

    def images(self, indices: Indices) -> Images:
        """Images (k, C, H, W) float32 of the events ``indices`` (k,), ascending. Raises DataError."""


class PixelTable(Table):
    """A table of 8-bit images held in memory; pixels are given in [0, 1].

    ``pixels`` (n, C, H, W) uint8 reach up to ``white``.
    """

    block_rows = 1
    unit_gev = None
    value_range = (0.0, 1.0)
    simulated = False

    def __init__(
        self,
        name: str,
        pixels: NDArray[np.uint8],
        labels: Indices,
        classes: Sequence[str],
        *,
        fingerprint: str,
        official: NDArray[np.bool_] | None = None,
        white: int = 255,
    ) -> None:
        self.name, self.pixels, self.white = name, pixels, white
        self.shape = pixels.shape[1:]
        self.classes, self.labels = tuple(classes), labels
        self.part = np.zeros(len(labels), dtype=np.int64)
        self.row = np.arange(len(labels))
        self.official, self.fingerprint = official, fingerprint

    def images(self, indices: Indices) -> Images:
        """Images (k, C, H, W) float32 in [0, 1] of the events ``indices`` (k,)."""
        return self.pixels[indices].astype(np.float32) / np.float32(self.white)


def files_fingerprint(paths: Sequence[Path]) -> str:
    """Content hash of the files in order; a file that has not changed is read once a process."""
    return content_hash([file_hash(path) for path in paths])


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content; a file that has not changed is read once a process."""
    stat = path.stat()
    return _hash(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash(path: Path, size: int, mtime_ns: int) -> str:
    return hash_file(path)
