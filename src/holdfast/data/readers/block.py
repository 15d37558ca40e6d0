"""What every reader offers: what is in a file, and its images block by block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError, UsageError

Kind = Literal["parquet", "hdf5", "npz", "root"]
OnCorrupt = Literal["stop", "skip"]
Shape = tuple[int, int, int]
LABELS = ("y", "label", "labels")
"""Names under which labels are looked for."""
BLOCK_BYTES = 24 << 20
"""Decoded float32 images of a block, unless its rows are given."""


@dataclass(frozen=True)
class Block:
    """Neighbouring events of a file, from its row ``first`` on.

    ``images`` (n, C, H, W) float32 in the file's own units, all of one shape, unchecked (they may hold NaN);
    ``columns`` (n,) each. ``skipped`` rows could not be read: a block either has images, or rows skipped.
    """

    first: int
    images: NDArray[np.float32]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.images)


class Reader(ABC):
    """One file of images.

    ``rows`` events; ``shape`` (C, H, W), None where rows differ; ``channels`` and ``units`` name each channel
    and say what 1 stands for ("GeV", "50 GeV", "50 ns", "" for unknown), both empty where shapes differ;
    ``types`` are the NumPy types of the numbers beside the image, by name; ``label`` is the one that looks
    like the label, and ``classes`` what 0, 1, … in it mean, as far as the format says so. A reader holds no
    open file and may be sent to other processes.
    """

    kind: Kind
    path: Path
    rows: int
    shape: Shape | None
    channels: tuple[str, ...]
    units: tuple[str, ...]
    types: dict[str, str]
    label: str | None
    classes: tuple[str, ...] | None
    simulated: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers beside the image."""
        return tuple(self.types)

    @abstractmethod
    def _blocks(self, rows: int, start: int, stop: int, skip: bool) -> Iterator[Block]:
        """Blocks of rows from ``start`` to ``stop``, both within the file."""

    def blocks(
        self,
        rows: int | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        on_corrupt: OnCorrupt = "stop",
    ) -> Iterator[Block]:
        """Yield the rows ``start`` to ``stop`` in order, at most ``rows`` (None: 24 MiB) at a time.

        Rows that cannot be read raise a DataError that names them; with ``on_corrupt="skip"`` they come as a
        block without images that counts them. Raises UsageError and DataError.
        """
        if on_corrupt not in ("stop", "skip"):
            raise UsageError("on_corrupt", expected="stop or skip", got=repr(on_corrupt))
        if rows is not None and rows < 1:
            raise UsageError("rows", expected="at least 1", got=rows)
        if not 0 <= start <= self.rows:
            raise UsageError("start", expected=f"0 to {self.rows}", got=start)
        stop = self.rows if stop is None else min(stop, self.rows)
        yield from self._blocks(rows or self.block_rows, start, stop, on_corrupt == "skip")

    @property
    def block_rows(self) -> int:
        """Events that decode to about 24 MiB of float32."""
        values = int(np.prod(self.shape)) if self.shape else 3 * 125 * 125
        return max(1, BLOCK_BYTES // (4 * values))

    def skipped(self, first: int, count: int) -> Block:
        """The block that stands for rows that could not be read."""
        images = np.empty((0, *(self.shape or (0, 0, 0))), dtype=np.float32)
        return Block(first, images, {}, count)


class Buffer:
    """Gathers small pieces into blocks of up to ``rows`` images of one shape, without a gap."""

    def __init__(self, rows: int) -> None:
        self.rows, self.first, self.filled = rows, 0, 0
        self.images: NDArray[np.float32] | None = None
        self.columns: list[dict[str, NDArray[Any]]] = []

    def add(
        self, first: int, images: list[NDArray[Any]], columns: dict[str, NDArray[Any]]
    ) -> Iterator[Block]:
        """Add neighbouring pieces (n, C, H, W) with the columns of all; yield what is full."""
        at = 0
        for piece in images:
            if self.images is not None and self.images.shape[1:] != piece.shape[1:]:
                yield from self.flush()
            while len(piece):
                if self.images is None:
                    self.images = np.empty((self.rows, *piece.shape[1:]), dtype=np.float32)
                    self.first = first + at
                count = min(len(piece), self.rows - self.filled)
                with np.errstate(over="ignore"):  # doubles beyond float32 become infinite, as such
                    self.images[self.filled : self.filled + count] = piece[:count]
                self.columns.append({key: values[at : at + count] for key, values in columns.items()})
                piece = piece[count:]
                at, self.filled = at + count, self.filled + count
                if self.filled == self.rows:
                    yield from self.flush()

    def flush(self) -> Iterator[Block]:
        """Yield what is left, if anything is."""
        if self.images is not None:
            names = self.columns[0]
            columns = {name: np.concatenate([part[name] for part in self.columns]) for name in names}
            yield Block(self.first, self.images[: self.filled], columns)
        self.images, self.columns, self.filled = None, [], 0


def named_channels(
    path: Path, shape: Shape | None, given: tuple[str, ...] | None, known: tuple[str, ...] | None, what: str
) -> tuple[str, ...]:
    """One text a channel: those ``given``, else those ``known`` if they fit. Raises DataError."""
    if shape is None:
        return ()
    if given is not None:
        if len(given) != shape[0]:
            raise DataError(f"{path}, {what}", expected=f"{shape[0]}, one a channel", got=", ".join(given))
        return given
    if known is not None and len(known) == shape[0]:
        return known
    return tuple("" if what == "units" else f"channel {number}" for number in range(shape[0]))


def as_images(values: NDArray[Any], channels_first: bool = False) -> NDArray[np.float32]:
    """Images (n, C, H, W) float32 of an array (n, H, W), (n, H, W, C) or (n, C, H, W).

    Channels come last if the last side is shorter than the two before it, as in the ML4SCI files, unless they
    are known to come first.
    """
    if values.ndim == 3:
        values = values[:, None]
    elif not channels_first and values.shape[3] < min(values.shape[1:3]):
        values = np.moveaxis(values, -1, 1)
    return np.ascontiguousarray(values, dtype=np.float32)


def image_shape(shape: tuple[int, ...], channels_first: bool = False) -> Shape:
    """(C, H, W) of an array of that shape, by the rule of ``as_images``."""
    if len(shape) == 3:
        return (1, shape[1], shape[2])
    if not channels_first and shape[3] < min(shape[1:3]):
        return (shape[3], shape[1], shape[2])
    return (shape[1], shape[2], shape[3])


def pick_image(
    path: Path, shapes: dict[str, tuple[int, ...]], asked: str | None, known: tuple[str, ...]
) -> str:
    """The key of the images: the one ``asked`` for, one of ``known``, or the only one. Raises DataError."""
    deep = [key for key, shape in shapes.items() if len(shape) in (3, 4) and 0 not in shape[1:]]
    wanted = asked or next((key for key in known if key in deep), None)
    if wanted is None and len(deep) == 1:
        return deep[0]
    if wanted in deep:
        return str(wanted)
    raise DataError(
        str(path),
        expected=f"images (N, H, W) or (N, H, W, C) under the key {asked or known[0]}",
        got=", ".join(f"{key} {shape}" for key, shape in shapes.items()) or "no arrays",
        remedy=f"name one of {', '.join(deep)} (image=)" if deep else "check that it is the right file",
    )
