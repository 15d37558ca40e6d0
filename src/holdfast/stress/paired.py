"""Two models under the same harm: how far apart they are, image by image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core import jsonl
from holdfast.core.errors import DataError, UsageError
from holdfast.core.protocols import Stressor
from holdfast.core.result import Label, Record
from holdfast.core.stats import auc_difference, mean_difference
from holdfast.stress.campaign import keyed
from holdfast.stress.store import SETTINGS, TRIALS
from holdfast.stress.trial import judged_by

_SAME = ("seed", "trials", "batch_size", "batches", "data", "stressors")

Columns = dict[str, NDArray[Any]]
"""``trial``, ``label`` and ``right`` of each image, and ``score`` of class 1 where there are two classes."""


def paired_differences(
    first: Path,
    second: Path,
    stressors: Sequence[Stressor],
    *,
    labels: Mapping[str, Label],
    simulated: bool,
) -> list[Record]:
    """Records ``auc_difference`` (two classes) and ``accuracy_difference``: first minus second model.

    ``first`` and ``second`` are folders of finished campaigns of ``stressors`` with the same settings: every
    image met the same noise in both, so that the difference has an interval of its own, narrower than those
    of the two. One record each a stressor that is judged by quality, with its labels and ``labels``; and once
    ``clean_auc_difference`` and ``clean_accuracy_difference``. Where a draw is shared by a trial, the
    interval counts trials (a single one gives none). Raises UsageError for campaigns that differ, DataError
    for trials that only one of them has.
    """
    settings = [json.loads((folder / SETTINGS).read_text()) for folder in (first, second)]
    for key in _SAME:
        if settings[0].get(key) != settings[1].get(key):
            got = f"{first} and {second} with another {key}"
            raise UsageError("paired difference", expected="two campaigns with the same harm", got=got)
    found: list[Record] = []
    tables = [columns(folder / TRIALS) for folder in (first, second)]
    for key, stressor in keyed(stressors).items():
        if judged_by(stressor) != "quality":
            continue
        a, b = (table.get(key, {}) for table in tables)
        if not a or not b or not np.array_equal(a["label"], b["label"]):
            expected = f"the same images under {key} in both campaigns"
            raise DataError("paired difference", expected=expected, got=f"others in {first} and {second}")
        groups = a["trial"] if getattr(stressor, "shared", False) else None
        common: dict[str, Any] = {"seed": settings[0]["seed"], "simulated": simulated}
        own = {**getattr(stressor, "labels", {}), **labels}
        found += _records(a, b, "", groups, {**own, "stressor": stressor.name}, common)
        if not any(record.metric.startswith("clean_") for record in found):
            found += _records(a, b, "clean_", None, dict(labels), common)
    return found


def columns(trials: Path) -> dict[str, Columns]:
    """By stressor, what ``trials.jsonl`` tells of each image, in the order of the trials.

    Images of trials without an answer are left out. A score that is not finite is NaN.
    """
    by_key: dict[str, dict[int, Columns]] = defaultdict(dict)
    for line in jsonl.read(trials):
        if "samples" in line:
            by_key[line["stressor"]].setdefault(line["trial"], _columns(line["trial"], line["samples"]))
    return {
        key: {name: np.concatenate([parts[trial][name] for trial in sorted(parts)]) for name in _names(parts)}
        for key, parts in by_key.items()
    }


def _columns(trial: int, samples: Mapping[str, Sequence[Any]]) -> Columns:
    label = np.array(samples["label"])
    found = {"trial": np.full(len(label), trial), "label": label}
    for prefix in ("", "clean_"):
        found[f"{prefix}right"] = np.array(samples[f"{prefix}decision"]) == label
        if f"{prefix}score" in samples:
            found[f"{prefix}score"] = np.array(samples[f"{prefix}score"], dtype=np.float64)
    return found


def _names(parts: Mapping[int, Columns]) -> list[str]:
    return list(next(iter(parts.values())))


def _records(
    a: Columns, b: Columns, prefix: str, groups: Any, labels: dict[str, Label], common: dict[str, Any]
) -> list[Record]:
    label = a["label"]
    common = {**common, "unit": "1", "direction": "higher", "n": len(label), "labels": labels}
    one = groups is not None and len(np.unique(groups)) < 2
    groups = None if one else groups
    value, interval = mean_difference(a[f"{prefix}right"], b[f"{prefix}right"], groups=groups)
    interval_or_none = None if one else interval
    told = [Record(metric=f"{prefix}accuracy_difference", value=value, interval=interval_or_none, **common)]
    scores = [table.get(f"{prefix}score") for table in (a, b)]
    if scores[0] is None or scores[1] is None or len(np.unique(label)) < 2:
        return told
    metric = f"{prefix}auc_difference"
    missing = sum(int(np.sum(~np.isfinite(each))) for each in scores if each is not None)
    if missing:
        message = f"{missing} scores are not finite"
        return [*told, Record(metric=metric, value=None, status="invalid", message=message, **common)]
    value, interval = auc_difference(label, scores[0], scores[1], groups=groups)
    return [*told, Record(metric=metric, value=value, interval=None if one else interval, **common)]
