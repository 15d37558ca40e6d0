"""Batches of any data set in bounded memory, in a reproducible order that can be resumed anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from holdfast.core.canonical import content_hash
from holdfast.core.errors import UsageError
from holdfast.data.info import DataInfo, Split
from holdfast.data.order import Order, in_sequence, shuffled
from holdfast.data.splits import limited, select
from holdfast.data.table import Images, Indices, Table

BUFFER_BYTES = 64 << 20
CACHE_BYTES = 1 << 30

Batch = tuple[Tensor, Tensor]


class Stream:
    """One split of a data set as batches; see ``holdfast.data.open``.

    Memory stays within about two buffers of 64 MiB, plus ``cache_bytes`` if the decoded split fits in them:
    then it is decoded once and kept. May be sent to other processes, which start with an empty cache.
    """

    def __init__(
        self,
        table: Table,
        *,
        split: Split = "all",
        seed: int = 0,
        order_seed: int | None = None,
        limit: int | None = None,
        limit_all: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._table = table
        self._seed = seed if order_seed is None else order_seed
        selected = select(table, split, seed)
        if limit_all is not None:
            kept = limited(table, np.arange(len(table.labels)), limit_all)
            selected = np.intersect1d(selected, kept, assume_unique=True)
        self._indices = limited(table, selected, limit)
        row_bytes = 4 * int(np.prod(table.shape))
        self._buffer_rows = max(1, BUFFER_BYTES // row_bytes)
        self._caches = row_bytes * len(self._indices) <= cache_bytes
        self._cache: Images | None = None
        self._cached = np.zeros(0, dtype=bool)
        labels = table.labels[self._indices]
        counts = np.bincount(labels, minlength=len(table.classes))
        identity = [table.fingerprint, split, seed, limit, limit_all]
        self.info = DataInfo(
            name=table.name,
            split=split,
            shape=table.shape,
            classes=table.classes,
            n=len(self._indices),
            counts={name: int(count) for name, count in zip(table.classes, counts, strict=True)},
            unit_gev=table.unit_gev,
            value_range=table.value_range,
            simulated=table.simulated,
            fingerprint=content_hash(identity),
            channels=table.channels,
            units=table.units,
            transform=table.transform,
        )

    def __len__(self) -> int:
        return self.info.n

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int = 0,
        shuffle: bool = False,
        skip: int = 0,
        indexed: bool = False,
    ) -> Iterator[Any]:
        """Yield batches (x (B, C, H, W) float32, y (B,) int64), the last one partial.

        ``shuffle`` orders by seed and ``epoch``; otherwise several files come in step with each other.
        ``skip`` leaves out whole batches without reading them: what follows is as if they had been read.
        ``indexed`` batches have a third part: the position (B,) int64, from 0 to n - 1, of each image in the
        split, whatever the order. Raises UsageError, and DataError for damaged files.
        """
        count = self._count(batch_size, skip)
        return self._emit(self._order(epoch, shuffle), batch_size, [(skip, count)], indexed)

    def dataset(
        self, batch_size: int, *, epoch: int = 0, shuffle: bool = False, skip: int = 0
    ) -> IterableDataset[Batch]:
        """The same batches as a torch data set, for a DataLoader with ``batch_size=None``.

        Several workers share the batches between them, each once; they come in another order then.
        """
        self._count(batch_size, skip)
        return _BatchDataset(self, batch_size, epoch, shuffle, skip)

    def _count(self, batch_size: int, skip: int) -> int:
        if batch_size < 1:
            raise UsageError("batch_size", expected="at least 1", got=batch_size)
        if skip < 0:
            raise UsageError("skip", expected="at least 0 batches", got=skip)
        return -(-self.info.n // batch_size)

    def _order(self, epoch: int, shuffle: bool) -> Order:
        if shuffle:
            return shuffled(self._table, self._indices, self._buffer_rows, self._seed, epoch)
        return in_sequence(self._table, self._indices, self._buffer_rows)

    def _emit(
        self, order: Order, batch_size: int, runs: list[tuple[int, int]], indexed: bool = False
    ) -> Iterator[Any]:
        """The batches of each run (first, end) of batch numbers."""
        for first, end in runs:
            low, high = first * batch_size, min(end * batch_size, len(order.events))
            rest: Images | None = None
            buffer = int(np.searchsorted(order.bounds, low, side="right")) - 1
            position = low
            while position < high:
                stop = min(int(order.bounds[buffer + 1]), high)
                images = self._read(order.events[position:stop])
                if rest is not None:
                    images = np.concatenate([rest, images])
                start = position - (0 if rest is None else len(rest))
                whole = len(images) if stop == high else len(images) // batch_size * batch_size
                for at in range(0, whole, batch_size):
                    events = order.events[start + at : start + min(at + batch_size, whole)]
                    # Copied, since a slice would keep (and send to other processes) the whole buffer.
                    x = torch.from_numpy(images[at : at + len(events)].copy())
                    y = torch.from_numpy(self._table.labels[events])
                    if indexed:
                        yield x, y, torch.from_numpy(np.searchsorted(self._indices, events))
                    else:
                        yield x, y
                rest = images[whole:].copy()
                position, buffer = stop, buffer + 1

    def _read(self, events: Indices) -> Images:
        """Images of ``events`` in their order, from the cache where they are in it."""
        if not self._caches:
            return self._decode(events)
        if self._cache is None:
            self._cache = np.empty((self.info.n, *self.info.shape), dtype=np.float32)
            self._cached = np.zeros(self.info.n, dtype=bool)
        places = np.searchsorted(self._indices, events)
        missing = ~self._cached[places]
        if not missing.any():
            return self._cache[places]
        decoded = self._decode(events[missing])
        self._cache[places[missing]] = decoded
        self._cached[places] = True
        return decoded if missing.all() else self._cache[places]

    def _decode(self, events: Indices) -> Images:
        ascending = np.argsort(events, kind="stable")
        images = self._table.images(events[ascending])
        if np.array_equal(ascending, np.arange(len(events))):
            return images
        ordered = np.empty_like(images)
        ordered[ascending] = images
        return ordered

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": None, "_cached": np.zeros(0, dtype=bool)}


class _BatchDataset(IterableDataset[Batch]):
    def __init__(self, stream: Stream, batch_size: int, epoch: int, shuffle: bool, skip: int) -> None:
        self.stream, self.batch_size = stream, batch_size
        self.epoch, self.shuffle, self.skip = epoch, shuffle, skip

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        count = self.stream._count(self.batch_size, self.skip)
        if workers == 1:
            runs = [(self.skip, count)]
        else:
            # Runs as long as a buffer, so that workers rarely decode the same blocks.
            length = max(1, self.stream._buffer_rows // self.batch_size)
            starts = range(self.skip + number * length, count, workers * length)
            runs = [(start, min(start + length, count)) for start in starts]
        yield from self.stream._emit(self.stream._order(self.epoch, self.shuffle), self.batch_size, runs)
