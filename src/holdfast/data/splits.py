"""Which events belong to train, val and test, and which are taken under a limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.data.info import SPLITS, Split
from holdfast.data.table import Indices, Table

TRAIN, VAL = 0.7, 0.15  # the rest is test
OFFICIAL_VAL = 0.1  # of the official training set


def select(table: Table, split: Split, seed: int) -> Indices:
    """Events of ``split``, ascending.

    Without official splits, shares of 70, 15 and 15 % by a hash of seed and row: an event keeps its split
    whatever files it is opened with. With an official test set, val is 10 % of the official training set.
    ``train_val`` is what is not test.
    Where events were placed before (converted data), they stay there.
    Raises UsageError.
    """
    if split not in SPLITS:
        raise UsageError("split", expected=f"one of {', '.join(SPLITS)}", got=repr(split))
    if split == "all":
        return np.arange(len(table.labels))
    if table.placed is not None:
        wanted = {"train": [0], "val": [1], "test": [2], "train_val": [0, 1]}[split]
        return np.flatnonzero(np.isin(table.placed, wanted))
    place = uniform(table.row, seeding.derive(seed, "split"))
    if table.official is None:
        parts = {"train": place < TRAIN, "val": (place >= TRAIN) & (place < TRAIN + VAL)}
        parts["test"] = ~(parts["train"] | parts["val"])
    else:
        val = place < OFFICIAL_VAL
        parts = {"train": ~table.official & ~val, "val": ~table.official & val, "test": table.official}
    parts["train_val"] = ~parts["test"]
    return np.flatnonzero(parts[split])


def limited(table: Table, indices: Indices, limit: int | None) -> Indices:
    """At most ``limit`` of ``indices``: the first of each class in each file, in proportion.

    Raises UsageError.
    """
    if limit is None or limit >= len(indices):
        return indices
    if limit < 1:
        raise UsageError("limit", expected="at least 1", got=limit)
    groups = table.part[indices] * len(table.classes) + table.labels[indices]
    # Each event's place within its group as a share of the group: the smallest shares are taken.
    return indices[np.sort(np.argsort(shares(groups), kind="stable")[:limit])]


def shares(groups: Indices) -> NDArray[np.float64]:
    """(k + 1/2) / m for the k-th of m members of each group: sorting by it mixes groups in proportion."""
    by_group = np.argsort(groups, kind="stable")
    _, first, inverse, counts = np.unique(
        groups[by_group], return_index=True, return_inverse=True, return_counts=True
    )
    values = np.empty(len(groups))
    values[by_group] = (np.arange(len(groups)) - first[inverse] + 0.5) / counts[inverse]
    return values


def uniform(rows: Indices, key: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each row, by the finaliser of SplitMix64 (Steele et al. 2014) on key and row."""
    z = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).astype(np.float64) / 2.0**64
