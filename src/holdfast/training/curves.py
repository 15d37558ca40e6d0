"""Curves of a training as files: learning curves over epochs, ROC curves over thresholds."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.core.paths import write_text

MOST = 1000
"""Points of a ROC curve that are kept at most."""


def roc_points(
    labels: NDArray[np.integer], scores: NDArray[np.floating], most: int = MOST
) -> list[dict[str, float | None]]:
    """Points (false_positive_rate, true_positive_rate, threshold) of ``labels`` (n,) of 0 and 1.

    ``scores`` (n,) are finite, higher meaning class 1. Corners that no straight line needs are kept, at most
    ``most`` of them, spread evenly over the length of the curve; the ends always are. The first threshold is
    infinite, written as None. Raises UsageError for one class only.
    """
    from sklearn.metrics import roc_curve

    if set(np.unique(labels)) != {0, 1} or not np.isfinite(scores).all():
        raise UsageError("ROC curve", expected="labels of both 0 and 1, finite scores", got="others")
    false, true, threshold = roc_curve(labels, scores, drop_intermediate=True)
    if len(false) > most:
        # Of a monotonous curve, the length in this norm is the sum of both rates.
        length = false + true
        wanted = np.linspace(0, length[-1], most)
        kept = np.unique(np.searchsorted(length, wanted).clip(0, len(false) - 1))
        kept = np.union1d(kept, [0, len(false) - 1])
        false, true, threshold = false[kept], true[kept], threshold[kept]
    return [
        {
            "false_positive_rate": float(f),
            "true_positive_rate": float(t),
            "threshold": float(at) if np.isfinite(at) else None,
        }
        for f, t, at in zip(false, true, threshold, strict=True)
    ]


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """``rows`` as CSV text, a column a key in order of appearance, empty where there is no value."""
    kept: Sequence[Mapping[str, Any]] = list(rows)
    text = StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for row in kept for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(kept)
    return text.getvalue()


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as ``table`` does, atomically. Raises StorageError."""
    write_text(path, table(rows))
