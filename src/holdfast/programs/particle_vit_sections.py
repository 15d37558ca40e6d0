"""Sections of the report of ``workflow:particle-vit`` beyond those of a comparison."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from holdfast.core.result import Record
from holdfast.hub.render import number, table
from holdfast.programs import charts, training_charts
from holdfast.programs.particle_vit_claims import SPLITS, TASKS, quality
from holdfast.programs.report_sections import select, value_text

Section = dict[str, Any]


def tasks(egamma: Sequence[Record], jets: Sequence[Record]) -> Section:
    """Tables 1 to 3: published beside measured ROC-AUC, split by split."""
    rows = []
    for task in TASKS:
        room = jets if task.table == "2" else egamma
        for split, title in SPLITS.items():
            record = quality(room, task.model, split)
            shown = None if record is None else " ".join(value_text(record))
            where = None if record is None else ("simulated" if record.simulated else "official files")
            rows.append([task.table, task.title, title, task.published[split], shown, where])
    caption = (
        "ROC-AUC as published and as measured here; brackets are 95 % intervals. Simulated images have a "
        "difficulty of their own: compare models with each other there, not with the published column."
    )
    columns = ["table", "task", "split", "published", "measured", "data"]
    about = "The proposal's evaluation tasks, with the structures of its public notebooks."
    return _section("The three tasks", about, [], tables=[table(caption, columns, rows)])


def curves(title: str, folders: Sequence[Path]) -> Section | None:
    """Learning curves and ROC curves of the trainings whose ``curves`` folders are given."""
    learning: list[dict[str, Any]] = []
    roc: list[dict[str, Any]] = []
    for folder in folders:
        lines = _read(folder / "roc.csv")
        name = _name(folder)
        rates = ("false_positive_rate", "true_positive_rate")
        roc += [{**{rate: float(line[rate]) for rate in rates}, "series": name} for line in lines]
        for line in _read(folder / "history.csv"):
            for key in ("train_loss", "val_loss", "val_auc"):
                if line.get(key):
                    learning.append(
                        {"epoch": int(line["epoch"]), "key": key, "value": float(line[key]), "series": name}
                    )
    figures = []
    for key, words in (
        ("val_auc", "validation ROC-AUC"),
        ("train_loss", "training loss (nats)"),
        ("val_loss", "validation loss (nats)"),
    ):
        rows = [line for line in learning if line["key"] == key]
        if rows:
            svg = charts.curves(rows, y_title=words)
            caption = "The epoch with the highest validation ROC-AUC is the one that was kept."
            figures.append({"title": f"Learning: {words}", "svg": svg, "caption": caption})
    if roc:
        caption = "On the validation split; the grey diagonal is chance."
        figures.append({"title": "ROC curves", "svg": training_charts.roc(roc), "caption": caption})
    return _section(title, "How the models trained.", [], figures=figures) if figures else None


def sizes(records: Sequence[Record], drawing: Path | None) -> Section | None:
    """AUC against the number of training images: does the transformer need more data?"""
    means = [r for r in records if "repeats" in r.labels and r.value is not None]
    if not means or drawing is None:
        return None
    by_model: dict[str, dict[int, Record]] = {}
    for record in means:
        by_model.setdefault(str(record.labels["model"]), {})[int(record.labels["images"])] = record
    sentences = []
    if len(by_model) == 2:
        (first, ours), (second, theirs) = by_model.items()
        both = sorted(ours.keys() & theirs.keys())
        gaps = {n: (ours[n].value or 0.0) - (theirs[n].value or 0.0) for n in both}
        told = ", ".join(f"{gap:+.3f} with {n:,}" for n, gap in gaps.items())
        sentences.append(f"{first} minus {second}, ROC-AUC by the number of training images: {told}.")
        if len(both) > 1:
            falls = all(gaps[b] < gaps[a] for a, b in pairwise(both))
            start, end = both[0], both[-1]
            trend = "shrinks at every step" if falls else "does not shrink at every step"
            sentences.append(
                f"The gap {trend} from {start:,} to {end:,} images ({gaps[start]:+.3f} to {gaps[end]:+.3f})."
            )
    caption = "Means over repetitions with 95 % intervals (Student's t over the trainings)."
    figure = {"title": "ROC-AUC against training images", "svg": drawing.read_text(), "caption": caption}
    about = "The proposal holds that transformers need more data than convolutional networks."
    return _section("Training-set size", about, sentences, figures=[figure])


def quantised(records: Sequence[Record], choice: dict[str, Any] | None) -> Section | None:
    """What fewer bits cost and bring, and which form was chosen."""
    if choice is None:
        return None
    caption = "Loss of ROC-AUC against float32 on the same images; times on one thread."
    shown = table(caption, choice["columns"], choice["rows"])
    failed = [f"{r.labels['form']} could not be made: {r.message}" for r in records if r.status == "failed"]
    sentences = [f"Chosen: {choice['chosen']}. {choice['reason']}", *failed]
    return _section("Quantisation", "Each form is judged by what it was measured to do.", sentences, [shown])


def package(records: Sequence[Record]) -> Section | None:
    """The CMSSW package: size of its model, and how far ONNX Runtime is from PyTorch."""
    apart = select(records, "logit_difference")
    if not apart:
        return None
    record = apart[0]
    sentence = (
        f"The package {record.labels.get('package', '')} holds the CNN as ONNX; its logits in ONNX Runtime "
        f"are at most {number(record.value, 2)} from PyTorch's."
    )
    about = "Producer, preprocessing made from the training's transform, configuration: docs/cmssw.md."
    return _section("CMSSW", about, [sentence])


def _section(
    title: str,
    about: str,
    sentences: list[str],
    tables: Sequence[Any] = (),
    figures: Sequence[dict[str, str]] = (),
) -> Section:
    return {
        "title": title,
        "about": about,
        "sentences": sentences,
        "tables": list(tables),
        "figures": list(figures),
    }


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _name(folder: Path) -> str:
    """Name of the model that was trained, from the records beside its curves."""
    from holdfast.core.result import read_records

    return str(read_records(folder.parent / "records.jsonl")[0].labels["model"])
