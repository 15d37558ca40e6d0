"""In which order the events of an epoch come: blocks of several files mixed, rows shuffled in a buffer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from holdfast.core import seeding
from holdfast.data.splits import shares
from holdfast.data.table import Indices, Table


@dataclass(frozen=True)
class Order:
    """Events in the order of an epoch, and where buffers end in it.

    Buffer k is ``events[bounds[k]:bounds[k + 1]]``: its rows are read together.
    """

    events: Indices
    bounds: Indices


def in_sequence(table: Table, indices: Indices, buffer_rows: int) -> Order:
    """The fixed order of evaluation: files in step with each other, rows of a file in their own order."""
    events = indices[np.argsort(shares(table.part[indices]), kind="stable")]
    return Order(events, np.append(np.arange(0, len(events), buffer_rows), len(events)))


def shuffled(table: Table, indices: Indices, buffer_rows: int, seed: int, epoch: int) -> Order:
    """The order of a training epoch; seed and epoch determine it.

    Blocks of neighbouring rows are shuffled within each file and files kept in step, so that every buffer
    holds slices of all of them; then the rows of each buffer, ``buffer_rows`` or one block more, are.
    """
    rng = seeding.generator(seed, "order", epoch)
    if len(indices) == 0:
        return Order(indices, np.zeros(1, dtype=np.int64))
    part, block = table.part[indices], table.row[indices] // table.block_rows
    first = np.flatnonzero(np.append(True, (np.diff(part) != 0) | (np.diff(block) != 0)))
    length = np.diff(np.append(first, len(indices)))

    mixed = rng.permutation(len(first))
    sequence = mixed[np.argsort(shares(part[first][mixed]), kind="stable")]
    first, length = first[sequence], length[sequence]
    start = np.cumsum(length) - length
    events = indices[np.repeat(first - start, length) + np.arange(len(indices))]

    full = np.flatnonzero(np.diff(start // buffer_rows)) + 1
    bounds = np.concatenate([[0], start[full], [len(events)]])
    for low, high in pairwise(bounds):
        events[low:high] = rng.permutation(events[low:high])
    return Order(events, bounds)
