"""What the report says of time: overhead against the baselines, with and without errors, each scheme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.core.result import Record
from holdfast.programs import charts
from holdfast.programs.fault_sections import SCHEMES
from holdfast.programs.report_sections import Figure, select, value_text

PAPER = (4.0, 8.0)
"""Per cent: the overhead that FT-CNN reports."""
NAMES = {
    "alexnet": "AlexNet",
    "vgg19": "VGG-19",
    "resnet18": "ResNet-18",
    "yolov2": "YOLOv2",
    "resnet50": "ResNet-50",
    "mobilenetv2": "MobileNetV2",
}
"""Models of the zoo, those of the paper first."""
ERRORS = {"none": "error-free", "block": "a block", "row": "a row", "column": "a column"}


def figures(records: Sequence[Record]) -> list[Figure]:
    """Overhead against the baselines, error-free; and with one error, against the fastest eager layout."""
    measured = [r for r in records if r.metric == "overhead" and r.value is not None]
    if not measured:
        return []
    how = measured[0].labels
    note = (
        f"Medians of paired ratios with bootstrap intervals, pairs: {_pairs(measured)}, processes:"
        f" {how.get('processes')}; random weights; threads: {how.get('threads')}; allocator:"
        f" {how.get('allocator')}. Dashed: the paper's 4 % and 8 %."
    )
    if len(measured) < sum(r.metric == "overhead" for r in records):
        note += " What was not run has no bar; the tables name it."
    found = []
    quiet = [
        _bar(r, f"batch {r.labels['batch']}", str(r.labels["baseline"]))
        for r in measured
        if r.labels.get("error") == "none"
    ]
    if quiet:
        found.append(
            {
                "title": "Overhead, error-free",
                "svg": charts.overheads(_sorted(quiet), x="model", x_title="", lines=PAPER),
                "caption": "Against the same path with the checks off, eager PyTorch, and torch.compile."
                f" {note}",
            }
        )
    struck = [
        _bar(r, f"batch {r.labels['batch']}", ERRORS.get(str(r.labels["error"]), str(r.labels["error"])))
        for r in measured
        if r.labels.get("baseline") == "fastest eager" and r.labels["batch"] in _struck_batches(measured)
    ]
    if struck:
        found.append(
            {
                "title": "Overhead with one error a pass",
                "svg": charts.overheads(_sorted(struck), x="model", x_title="", lines=PAPER),
                "caption": f"Against the fastest eager layout; the error is in each layer in turn. {note}",
            }
        )
    return found


def _struck_batches(measured: Sequence[Record]) -> set[Any]:
    return {r.labels["batch"] for r in measured if r.labels.get("error") != "none"}


def _pairs(measured: Sequence[Record]) -> str:
    counts = [r.n or 0 for r in measured]
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"


def tables(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The same in numbers: a table error-free, one with an error; a row a model and batch.

    A cell is (text, interval, reason); what has no value is told with its reason, never left blank.
    """
    everything = [r for r in records if r.metric == "overhead"]
    quiet = [r for r in everything if r.labels.get("error") == "none"]
    tables = [
        _grid(
            "Error-free",
            "Time above the baseline's in per cent, medians of paired ratios; brackets are 95 % intervals.",
            quiet,
            [("none", baseline) for baseline in dict.fromkeys(str(r.labels["baseline"]) for r in quiet)],
        ),
        _grid(
            "With one error a pass",
            "The same with an error in one layer, another one each pass: one number of a block; a row, what"
            " one element of D reaches; a column, one channel of all images.",
            [r for r in everything if r.labels.get("error") != "none"],
            [(e, b) for b in ("error-free", "fastest eager") for e in ERRORS if e != "none"],
        ),
    ]
    return [table for table in tables if table["rows"]]


def _grid(
    title: str, caption: str, records: Sequence[Record], columns: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    rows: dict[tuple[str, Any], dict[tuple[str, str], Record]] = {}
    for r in sorted(records, key=_place):
        key = str(r.labels["model"]), r.labels["batch"]
        rows.setdefault(key, {})[str(r.labels["error"]), str(r.labels["baseline"])] = r
    used = [column for column in columns if any(column in cells for cells in rows.values())]
    heads = {
        (error, baseline): f"over {baseline}" if error == "none" else f"{ERRORS[error]}, over {baseline}"
        for error, baseline in used
    }
    reasons = {
        f"{name(model)}, batch {batch}, {heads[column]}": cells[column].message
        for (model, batch), cells in rows.items()
        for column in used
        if column in cells and cells[column].value is None
    }
    return {
        "title": title,
        "caption": caption,
        "columns": [heads[column] for column in used],
        "rows": [
            {
                "title": f"{name(model)}, batch {batch}",
                "pairs": _pairs([r for r in cells.values() if r.value is not None] or [*cells.values()]),
                "cells": [_cell(cells.get(column)) for column in used],
            }
            for (model, batch), cells in rows.items()
        ],
        "reasons": _together(reasons),
    }


def _cell(record: Record | None) -> tuple[str, str, str]:
    """Text, interval, and why there is no value."""
    if record is None:
        return "not run", "", "not asked for"
    if record.value is None:
        return ("not run" if record.status == "ok" else record.status), "", record.message or ""
    return (*value_text(record), "")


def _together(reasons: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """(reason, what it holds for), each reason once."""
    found: dict[str, list[str]] = {}
    for what, reason in reasons.items():
        found.setdefault(reason or "no reason given", []).append(what)
    return [(reason, "; ".join(what)) for reason, what in found.items()]


def name(model: str) -> str:
    """How a model of the zoo is written."""
    return NAMES.get(model, model)


def _place(record: Record) -> tuple[int, str, int]:
    model = str(record.labels["model"])
    known = [*NAMES]
    return known.index(model) if model in known else len(known), model, int(record.labels["batch"])


def scheme_table(records: Sequence[Record]) -> dict[str, Any] | None:
    """Time of each scheme on all layers, over the model's: a row a scheme, a column a model and batch."""
    everything = sorted((r for r in records if r.metric == "scheme_time"), key=_place)
    if not any(r.value is not None for r in everything):
        return None
    columns = list(dict.fromkeys((str(r.labels["model"]), r.labels["batch"]) for r in everything))
    rows = list(dict.fromkeys((str(r.labels["scheme"]), str(r.labels["positions"])) for r in everything))
    rows.sort(
        key=lambda row: (row[1] != "every", SCHEMES.index(row[0]) if row[0] in SCHEMES else len(SCHEMES))
    )
    cells = {
        (r.labels["scheme"], r.labels["positions"], r.labels["model"], r.labels["batch"]): r
        for r in everything
    }
    titles = {"every": "at every position", "one": "at one position"}
    return {
        "columns": [f"{name(model)}, batch {batch}" for model, batch in columns],
        "rows": [
            {
                "title": f"{s}, {titles.get(p, p)}",
                "cells": [_cell(cells.get((s, p, *column))) for column in columns],
            }
            for s, p in rows
        ],
        "reasons": _together(
            {
                f"{r.labels['scheme']} at {r.labels['positions']} position, {name(str(r.labels['model']))}": (
                    r.message
                )
                for r in everything
                if r.value is None
            }
        ),
    }


def verdicts(records: Sequence[Record]) -> list[str]:
    """One sentence on the error-free overhead, if it was measured."""
    everything = select(records, "overhead", error="none", baseline="fastest eager")
    quiet = [r for r in everything if r.value is not None]
    if not quiet:
        return []
    least, most = min(quiet, key=lambda r: r.value or 0.0), max(quiet, key=lambda r: r.value or 0.0)
    within = sum((r.value or 0.0) <= PAPER[1] for r in quiet)
    more = f", {len(everything) - len(quiet)} more were not run" if len(everything) > len(quiet) else ""
    return [
        f"Error-free time above the fastest eager layout: from {_told(least)} to {_told(most)}; at most the"
        f" paper's {PAPER[1]:g} % in {within} of {len(quiet)} cases{more}."
    ]


def _told(record: Record) -> str:
    where = f"{name(str(record.labels['model']))} at batch {record.labels['batch']}"
    return f"{' '.join(value_text(record)).strip()} ({where})"


def _bar(record: Record, panel: str, series: str) -> dict[str, Any]:
    low, high = (
        (record.interval.low, record.interval.high) if record.interval else (record.value, record.value)
    )
    return {
        "model": name(str(record.labels["model"])),
        "place": _place(record),
        "batch": record.labels["batch"],
        "panel": panel,
        "series": series,
        "value": record.value,
        "low": low,
        "high": high,
    }


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (int(row["batch"]), row["place"]))
