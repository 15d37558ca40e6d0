"""Dominance among very many points: which of them lie beyond another one in every objective."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]
_SMALL = 2**12
"""Pairs that are compared one by one; more are divided."""
_STRONG = 64
"""Keys that are tried first, since they cover most of what can be covered."""


def dominated(
    costs: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mask (n,) of the rows of ``costs`` (n, objectives; lower is better, no NaN) that another one dominates.

    Row a dominates row b if its ``costs`` are nowhere above those of b, and its ``high`` is somewhere below
    ``low`` of b; ``low <= costs <= high``. Without width this is Pareto's dominance. O(n log n) for two
    objectives, a factor log n more for each further one.
    """
    mask = np.zeros(len(costs), dtype=bool)
    ranks = np.stack([_ranks(column) for column in costs.T], axis=1) if len(costs) else costs.astype(int)
    for objective in range(costs.shape[1]):
        # Where high of a is below low of b, its cost is below too: the objective needs no second comparison.
        ends = _ranks(np.concatenate([high[:, objective], low[:, objective]]))
        others = np.delete(ranks, objective, axis=1)
        left = np.flatnonzero(~mask)
        keys = np.column_stack([ends[: len(costs)] + 1, others])  # of integers, a < b is a + 1 <= b
        queries = np.column_stack([ends[len(costs) :], others])[left]
        mask[left] = covered(keys, queries)
    return mask


def covered(keys: Ranks, queries: Ranks) -> NDArray[np.bool_]:
    """Mask (m,) of the ``queries`` (m, d) that lie at or above one of the ``keys`` (n, d) in every column.

    By division at the median of the first column (Bentley, CACM 1980): keys below it are compared with the
    queries above it in the other columns alone.
    """
    if not len(keys) or not len(queries):
        return np.zeros(len(queries), dtype=bool)
    strong = keys[np.argsort(keys.sum(axis=1), kind="stable")[:_STRONG]]
    mask = np.zeros(len(queries), dtype=bool)
    for key in strong[: 1 if len(queries) < 256 else _STRONG]:
        mask |= (key <= queries).all(axis=1)
    left = np.flatnonzero(~mask)
    mask[left] = _covered(keys, queries[left])
    return mask


def _covered(keys: Ranks, queries: Ranks) -> NDArray[np.bool_]:
    mask = np.zeros(len(queries), dtype=bool)
    if not len(keys) or not len(queries):
        return mask
    if keys.shape[1] == 1:
        return np.asarray(queries[:, 0] >= keys[:, 0].min())
    if keys.shape[1] == 2:
        return _sweep(keys, queries)
    if len(keys) * len(queries) <= _SMALL:
        return np.asarray((keys[:, None] <= queries[None]).all(axis=2).any(axis=0))
    first, asked = keys[:, 0], queries[:, 0]
    if first.max() <= asked.min():
        return _covered(keys[:, 1:], queries[:, 1:])
    values = np.concatenate([first, asked])
    middle = min(int(np.median(values)), int(values.max()) - 1)
    below, above = np.flatnonzero(asked <= middle), np.flatnonzero(asked > middle)
    near = first <= middle
    mask[below] = _covered(keys[near], queries[below])
    mask[above] = _covered(keys[near, 1:], queries[above, 1:])
    above = above[~mask[above]]
    mask[above] = _covered(keys[~near], queries[above])
    return mask


def _sweep(keys: Ranks, queries: Ranks) -> NDArray[np.bool_]:
    """Two columns: the least second column among the keys up to each query's first one."""
    order = np.argsort(keys[:, 0], kind="stable")
    least = np.minimum.accumulate(keys[order, 1])
    upto = np.searchsorted(keys[order, 0], queries[:, 0], side="right")
    return np.asarray((upto > 0) & (least[np.maximum(upto, 1) - 1] <= queries[:, 1]))


def _ranks(values: NDArray[np.float64]) -> Ranks:
    """Dense ranks from 0; -0.0 and 0.0 are equal."""
    ranks: Ranks = np.unique(values + 0.0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return ranks
