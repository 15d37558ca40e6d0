"""What a rerun of ``paper:particle-vit`` says about the proposal's own numbers: one record a claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.result import Label, Record
from holdfast.programs.report_sections import select

SPLITS = {"train": "training", "val": "validation", "test": "test"}
NOISE: dict[str, Any] = {"stressor": "gaussian_noise", "sigma_input": 0.1}
"""The proposal's noise: standard deviation 0.1 in every cell and channel of the normalised images."""


@dataclass(frozen=True)
class Task:
    """One evaluation task: its table, its title, the model that stands for it, its published AUC by split."""

    table: str
    title: str
    model: str
    published: Mapping[str, float]


TASKS = (
    Task("1", "CNN, electron against photon", "proposal-cnn", {"train": 0.812, "val": 0.815, "test": 0.81}),
    Task("2", "CNN, quark against gluon", "proposal-cnn-jets", {"train": 0.762, "val": 0.78, "test": 0.77}),
    Task("3", "Transformer, electron against photon", "vit", {"train": 0.77, "val": 0.78, "test": 0.76}),
)


def quality(records: Sequence[Record], model: str, split: str) -> Record | None:
    """The ROC-AUC of the plain ``model`` on ``split``, None if it was not measured."""
    found = select(records, "auc", without=("stressor", "how", "images"), model=model, split=split)
    return next((r for r in found if r.labels.get("protection") == "plain" and r.value is not None), None)


def claimed(egamma: Sequence[Record], jets: Sequence[Record], names: Mapping[str, str]) -> list[Record]:
    """Records for the claims of the paper, from those of the steps.

    ``names`` are those of the data, under ``egamma`` and ``jets``. Labels say how far a record falls short of
    the source: ``data``, the number of ``images`` of all splits, ``parameters``.
    """
    found: list[Record] = []
    for task in TASKS:
        room, name = (jets, names["jets"]) if task.table == "2" else (egamma, names["egamma"])
        measured = {split: quality(room, task.model, split) for split in SPLITS}
        images = sum(r.n or 0 for r in measured.values() if r is not None)
        size = select(room, "parameters", model=task.model, protection="plain")
        scale: dict[str, Label] = {"table": task.table, "data": name, "images": images}
        if size and size[0].value is not None:
            scale["parameters"] = int(size[0].value)
            found.append(_labelled(size[0], {"table": task.table}))
        found += [
            _labelled(record, {**scale, "split": split})
            for split, record in measured.items()
            if record is not None
        ]
        if task.table == "3":
            about: dict[str, Label] = {"figure": "16", "data": name, "images": images}
            found += _noise(egamma, about)
    return found


def _noise(records: Sequence[Record], about: dict[str, Label]) -> list[Record]:
    """Figure 16: both models under the proposal's noise, and how far the transformer is ahead."""
    found = [
        _labelled(record, {**about, "model": model})
        for model in ("vit", "proposal-cnn")
        for record in select(records, "auc", model=model, **NOISE)
        if record.value is not None
    ]
    for record in select(records, "auc_difference", **NOISE):
        pair = (record.labels.get("model"), record.labels.get("against"))
        if record.value is not None and set(pair) == {"vit", "proposal-cnn"}:
            ahead = record if pair[0] == "vit" else flipped(record)
            found.append(_labelled(ahead, about))
    return found


def flipped(record: Record) -> Record:
    """A difference the other way round."""
    span = record.interval
    turned = span and span.model_copy(update={"low": -span.high, "high": -span.low})
    return record.model_copy(update={"value": -(record.value or 0.0), "interval": turned})


def _labelled(record: Record, labels: dict[str, Label]) -> Record:
    return record.model_copy(update={"labels": labels})
