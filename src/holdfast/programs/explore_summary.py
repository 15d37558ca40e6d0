"""What a survey of detector images says in numbers: summary.json, images.npz and records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.core.paths import atomic_path
from holdfast.core.result import Interval, Label, Record
from holdfast.core.stats import wilson
from holdfast.data.groups import OTHER, UNLABELLED, Class, Group
from holdfast.data.label_evidence import Evidence, label_evidence, odd_files
from holdfast.data.statistics import Spectrum, separation
from holdfast.data.survey import FileFound, Survey

QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)


def class_name(group: Group, label: str) -> str:
    """What a class is called: by the files if they agree, else by its label."""
    names = next(iter(group.names)) if len(group.names) == 1 else ()
    if label in (OTHER, UNLABELLED):
        return {OTHER: "other labels", UNLABELLED: "without label"}[label]
    return names[int(label)] if int(label) < len(names) else f"label {label}"


def size(group: Group) -> str:
    """The shape as C×H×W."""
    return "×".join(map(str, group.shape))


def seed_modes(group: Group) -> list[tuple[str, int, int, float]]:
    """Of each channel with a hottest cell: name, row and column where it is most often, and how often."""
    found = []
    for name, counts in zip(group.channels, group.seeds, strict=True):
        if counts.sum():
            row, column = divmod(int(counts.argmax()), counts.shape[1])
            found.append((name, row, column, float(counts.max() / counts.sum())))
    return found


def separating(group: Group) -> Iterator[tuple[str, str, str, float, Interval]]:
    """(quantity, class, other class, AUC, interval) of every number and every two classes."""
    labels = sorted(label for label in group.classes if label not in (OTHER, UNLABELLED))
    for low, high in combinations(labels, 2):
        a, b = group.classes[low].quantities, group.classes[high].quantities
        for quantity in a:
            measured = separation(a[quantity], b[quantity]) if quantity in b else None
            if measured is not None:
                yield quantity, high, low, *measured


def summarise(found: Survey) -> dict[str, Any]:
    """Everything but the images, as JSON."""
    return {
        "schema": "holdfast.explore/1",
        "files": [_file(file) for file in found.files],
        "groups": [_group(group, found) for group in found.groups],
        "odd_files": [
            {"file": str(file.path), "quantity": quantity, "deviations": deviations}
            for file, quantity, deviations in odd_files(found)
        ],
        "duplicates": {
            **asdict(found.duplicates),
            "examples": [
                {"first": [str(found.files[a].path), row], "copy": [str(found.files[b].path), other]}
                for a, row, b, other in found.duplicates.examples
            ],
        },
    }


def _file(file: FileFound) -> dict[str, Any]:
    reader = file.reader
    data: dict[str, Any] = {"path": str(file.path), "bytes": file.bytes, "error": file.error}
    if reader is not None:
        data |= {"kind": reader.kind, "rows": reader.rows, "read": file.read, "skipped": file.skipped}
        data |= {"shape": reader.shape, "channels": reader.channels, "units": reader.units}
        data |= {"columns": file.types, "label": reader.label, "classes": reader.classes}
        data |= {"simulated": reader.simulated}
    return data


def _group(group: Group, found: Survey) -> dict[str, Any]:
    return {
        "shape": group.shape,
        "channels": group.channels,
        "units": group.units,
        "files": [str(found.files[number].path) for number in sorted(group.files)],
        "events": group.events,
        "simulated_events": group.simulated,
        "classes": {
            label: {"name": class_name(group, label), **_class(group, counted)}
            for label, counted in sorted(group.classes.items())
        },
        "seeds": [
            {"channel": name, "row": row, "column": column, "share": share}
            for name, row, column, share in seed_modes(group)
        ],
        "separation": [
            {"quantity": quantity, "class": high, "against": low, "auc": auc, "interval": _interval(interval)}
            for quantity, high, low, auc, interval in separating(group)
        ],
        "labels": [_evidence(each) for each in label_evidence(group)],
    }


def _class(group: Group, counted: Class) -> dict[str, Any]:
    return {
        "events": counted.events,
        "empty_images": counted.empty,
        "images_not_finite": counted.images.left_out,
        "cells": {name: _spectrum(cells) for name, cells in zip(group.channels, counted.cells, strict=True)},
        "quantities": {name: _spectrum(values) for name, values in counted.quantities.items()},
    }


def _spectrum(values: Spectrum) -> dict[str, Any]:
    data: dict[str, Any] = {"n": values.n, "zero": values.zero, "negative": values.negative}
    data |= {"nan": values.nan, "infinite": values.infinite}
    if values.n:
        data |= {"mean": values.mean, "std": values.std, "min": values.low, "max": values.high}
        data["quantiles"] = {str(q): values.quantile(q) for q in QUANTILES}
    return data


def _interval(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _evidence(each: Evidence) -> dict[str, Any]:
    data = {**asdict(each), "interval": _interval(each.interval)}
    return data | {"label_1_is": each.one, "contradicts": each.contradicts}


def write_arrays(found: Survey, path: Path) -> None:
    """Mean image, its standard error and occupancy (C, H, W) by group and class, hottest cells by group.

    ``info`` (JSON text) says what the numbers in the keys stand for.
    """
    arrays: dict[str, Any] = {}
    info = []
    for number, group in enumerate(found.groups):
        info.append({"shape": group.shape, "channels": group.channels, "units": group.units})
        arrays[f"{number}/hottest"] = group.seeds
        for label, counted in group.classes.items():
            if counted.images.n:
                key = f"{number}/{label}"
                arrays[f"{key}/mean"] = counted.images.mean.astype(np.float32)
                arrays[f"{key}/error"] = np.sqrt(counted.images.variance_of_mean).astype(np.float32)
                arrays[f"{key}/occupancy"] = (counted.images.hits / counted.images.n).astype(np.float32)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, info=np.array(json.dumps(info)), **arrays)


def records(found: Survey) -> list[Record]:
    """Counts of events and of what is wrong with them, class shares, and what separates the classes."""
    all_simulated = all(file.reader.simulated for file in found.files if file.reader is not None)
    made: list[Record] = []

    def add(metric: str, value: float, labels: dict[str, Label], simulated: bool, **more: Any) -> None:
        record = Record(
            metric=metric,
            value=value,
            unit=more.pop("unit", "1"),
            direction="none",
            labels=labels,
            simulated=simulated,
            **more,
        )
        made.append(record)

    for file in found.files:
        if file.reader is not None:
            labels: dict[str, Label] = {"file": file.path.name, "kind": file.reader.kind}
            add("events", file.read, labels, file.reader.simulated, unit="events")
            add("skipped_events", file.skipped, labels, file.reader.simulated, unit="events")
    for group in found.groups:
        simulated = group.simulated == group.events
        for label, counted in sorted(group.classes.items()):
            labels = {"shape": size(group), "class": class_name(group, label)}
            share = wilson(counted.events, group.events)
            n = group.events
            add("class_share", counted.events / n, labels, simulated, n=n, interval=share)
            add("empty_images", counted.empty, labels, simulated, unit="events", n=counted.events)
            bad = counted.images.left_out
            add("images_not_finite", bad, labels, simulated, unit="events", n=counted.events)
            for channel, cells in zip(group.channels, counted.cells, strict=True):
                if cells.n:
                    where = {**labels, "channel": channel}
                    add("occupancy", 1 - cells.zero / cells.n, where, simulated, n=cells.n)
                    add("negative_cells", cells.negative, where, simulated, unit="cells", n=cells.n)
        for channel, row, column, share_there in seed_modes(group):
            where = {"shape": size(group), "channel": channel, "row": row, "column": column}
            add("hottest_cell_share", share_there, where, simulated, n=int(group.events))
        for quantity, high, low, auc, interval in separating(group):
            pair = {"class": class_name(group, high), "against": class_name(group, low)}
            where = {"shape": size(group), "quantity": quantity, **pair}
            add("separation_auc", auc, where, simulated, interval=interval)
    n = sum(group.events for group in found.groups)
    for metric in ("copies", "contradictory"):
        add(f"duplicate_{metric}", getattr(found.duplicates, metric), {}, all_simulated, unit="events", n=n)
    return made
