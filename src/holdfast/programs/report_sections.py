"""What the hardening report says: sentences, tables and figures computed from records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from holdfast.core.result import Record
from holdfast.hub.frontier import in_words
from holdfast.hub.render import number
from holdfast.programs import charts

Figure = dict[str, str]
BREAKDOWNS = ("layer", "bit", "bit_class")
WHERE = {"output": "layer outputs", "weight": "weights"}


def select(
    records: Iterable[Record], metric: str, *, without: Sequence[str] = (), **labels: Any
) -> list[Record]:
    """Records of ``metric`` whose labels contain ``labels`` and none of ``without``."""
    return [
        record
        for record in records
        if record.metric == metric
        and all(record.labels.get(key) == value for key, value in labels.items())
        and not any(key in record.labels for key in without)
    ]


def simulated(records: Sequence[Record]) -> str:
    """Which numbers were measured on simulated images, in words; empty if none."""
    some = [record for record in records if record.simulated]
    if not some:
        return ""
    models = sorted({str(record.labels["model"]) for record in some if "model" in record.labels})
    if len(some) == len(records) or not models:
        return "Every number on this page was measured on simulated images."
    return f"The numbers of {', '.join(models)} were measured on simulated images."


def subjects(records: Iterable[Record]) -> list[tuple[str, str]]:
    """The (model, protection) pairs that were measured under stress or on the bench, in order."""
    pairs = (
        (str(record.labels["model"]), str(record.labels["protection"]))
        for record in records
        if {"model", "protection"} <= record.labels.keys()
        and record.labels.get("split") != "val"
        and record.metric != "protected_layers"
    )
    return list(dict.fromkeys(pairs))


def value_text(record: Record) -> tuple[str, str]:
    """A record's value and its interval as two texts, in per cent for rates, else in the record's unit."""
    if record.value is None:
        return "not measured", ""
    scale, unit = 1.0, "" if record.unit == "1" else f" {record.unit}"
    if record.metric == "accuracy" or record.metric.endswith("_rate"):
        scale, unit = 100.0, " %"
    elif record.unit == "FLOP":
        scale, unit = 1e-6, " MFLOP"
    span = record.interval
    limits = f"[{number(scale * span.low, 3)}, {number(scale * span.high, 3)}]" if span else ""
    return f"{number(scale * record.value)}{unit}", limits


def verdicts(records: Sequence[Record]) -> list[str]:
    """One sentence a fault site: what the flips did to plain models and to protected ones."""
    sentences = []
    for site, where in WHERE.items():
        totals = select(records, "critical_sdc_rate", without=BREAKDOWNS, stressor="bit_flips", site=site)
        plain = [r for r in totals if r.labels.get("protection") == "plain" and r.value is not None]
        protected = [r for r in totals if r.labels.get("protection") == "protected" and r.value is not None]
        if not plain:
            continue
        shares = ", ".join(f"{r.labels['model']} {' '.join(value_text(r))} of {r.n}" for r in plain)
        sentence = (
            f"Single bit flips in {where} changed a decision unnoticed on the plain models: {shares} trials."
        )
        if protected:
            worst = max(protected, key=lambda r: r.value or 0.0)
            hits = sum(round((r.value or 0.0) * (r.n or 0)) for r in protected)
            bound = f"{worst.labels['model']} {' '.join(value_text(worst))}"
            sentence += (
                f" On the protected ones: {hits} of {sum(r.n or 0 for r in protected)} (worst: {bound})."
            )
        sentences.append(sentence)
    return sentences


_COLUMNS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("AUC", "auc", {"split": "test"}),
    ("accuracy", "accuracy", {"split": "test"}),
    ("latency, batch 1", "latency", {"batch": 1}),
    ("latency, batch 64", "latency", {"batch": 64}),
    ("time over plain, batch 1", "latency_ratio", {"batch": 1}),
    ("time over plain, batch 64", "latency_ratio", {"batch": 64}),
    ("critical SDC, outputs", "critical_sdc_rate", {"stressor": "bit_flips", "site": "output"}),
    ("corrected, outputs", "corrected_rate", {"stressor": "bit_flips", "site": "output"}),
    ("critical SDC, weights", "critical_sdc_rate", {"stressor": "bit_flips", "site": "weight"}),
    ("detected, weights", "detected_rate", {"stressor": "bit_flips", "site": "weight"}),
    ("FLOPs an image", "flops", {}),
    ("parameters", "parameters", {}),
    ("kept weights", "kept_weights", {}),
    ("file", "file_size", {}),
)


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Headline table: a row a model and protection, a column a metric that was measured for anyone."""
    rows = []
    for model, protection in subjects(records):
        cells = {}
        for title, metric, labels in _COLUMNS:
            without = BREAKDOWNS if "stressor" in labels else ("stressor",)
            found = select(records, metric, without=without, model=model, protection=protection, **labels)
            if found:
                cells[title] = value_text(found[0])
        rows.append({"model": model, "protection": protection, "cells": cells})
    used = [title for title, *_ in _COLUMNS if any(title in row["cells"] for row in rows)]
    return {"columns": used, "rows": rows}


def front_figure(front: dict[str, Any] | None, records: Sequence[Record]) -> list[Figure]:
    """The Pareto front over its first two objectives; the others decide membership too."""
    if not front or len(front["objectives"]) < 2:
        return []
    (y, x), rest = list(front["objectives"])[:2], list(front["objectives"])[2:]
    rows = []
    for point in front["points"]:
        values = point["values"]
        if values.get(x) is None or values.get(y) is None:
            continue
        same = [
            r.interval
            for r in records
            if r.value == values[y] and point["labels"].items() <= r.labels.items()
        ]
        low, high = (same[0].low, same[0].high) if same and same[0] else (values[y], values[y])
        rows.append(
            {
                "x": values[x],
                "y": values[y],
                "y_low": low,
                "y_high": high,
                "series": str(point["labels"].get("protection", "all")),
                "name": str(point["labels"].get("model", "")),
                "on_front": point["on_front"],
            }
        )
    if not rows:
        return []
    units = {record.metric: record.unit for record in records if record.unit != "1"}
    titles = [
        in_words(axis) + (f", {units[metric]}" if (metric := axis.partition("[")[0]) in units else "")
        for axis in (x, y)
    ]
    members = "; ".join(" ".join(map(str, p["labels"].values())) for p in front["points"] if p["on_front"])
    also = f" {', '.join(map(in_words, rest))} counts too." if rest else ""
    return [
        {
            "title": "Pareto front",
            "svg": charts.front(rows, x_title=titles[0], y_title=titles[1]),
            "caption": f"Filled: not dominated by any other point.{also} On the front: {members}.",
        }
    ]


def _rows(records: Iterable[Record], x: str) -> list[dict[str, Any]]:
    rows = []
    for record in records:
        if record.value is None or x not in record.labels:
            continue
        interval = record.interval
        rows.append(
            {
                x: record.labels[x],
                "model": str(record.labels.get("model", "")),
                "protection": str(record.labels.get("protection", "")),
                "value": record.value,
                "low": interval.low if interval else record.value,
                "high": interval.high if interval else record.value,
            }
        )
    return rows


def stress_figures(records: Sequence[Record]) -> list[Figure]:
    """SDC by bit, and quality against the strength of noise, dead channels and attacks."""
    figures = []
    for site, where in WHERE.items():
        found = select(records, "critical_sdc_rate", stressor="bit_flips", site=site, without=("layer",))
        found = [record for record in found if record.labels.get("bits") != "all"]
        rows = sorted(_rows(found, "bit"), key=lambda row: -int(row["bit"]))
        if rows:
            figures.append(
                {
                    "title": f"Bit flips in {where}",
                    "svg": charts.rates(
                        [{**row, "bit": str(row["bit"])} for row in rows],
                        x="bit",
                        x_title="flipped bit of the float32 (31 sign, 30–23 exponent)",
                        y_title="critical SDC rate",
                    ),
                    "caption": "Share of trials whose decision changed unnoticed; 95 % Wilson intervals.",
                }
            )
    for stressor, label, title, axis in (
        ("gaussian_noise", "sigma_gev", "Gaussian noise", "standard deviation in every cell (GeV)"),
        ("gaussian_noise", "sigma_fraction_of_max", "Gaussian noise", "standard deviation over maximum"),
        ("dead_channels", "rate", "Dead channels", "share of dead cells"),
        ("pgd", "eps_gev", "PGD attack", "largest change of a cell (GeV)"),
        ("pgd", "eps", "PGD attack", "largest change of a pixel"),
    ):
        for metric, name in (("auc", "AUC"), ("accuracy", "accuracy")):
            rows = _rows(select(records, metric, stressor=stressor), label)
            if rows and len({row[label] for row in rows}) > 1:
                figures.append(
                    {
                        "title": title,
                        "svg": charts.intervals(rows, x=label, x_title=axis, y_title=name),
                        "caption": f"{name} on stressed test images with 95 % intervals.",
                    }
                )
                break
    return figures


def learning(histories: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Validation quality over epochs."""
    rows = []
    name = "accuracy"
    for series, lines in histories.items():
        for line in lines:
            name = "AUC" if line.get("val_auc") is not None else "accuracy"
            value = line.get("val_auc") if name == "AUC" else line.get("val_accuracy")
            rows.append({"epoch": line["epoch"], "value": value, "series": series})
    if not rows:
        return []
    svg = charts.curves(rows, y_title=f"validation {name}")
    return [{"title": "Learning curves", "svg": svg, "caption": "The best epoch is the one that was kept."}]


def provenance(records: Sequence[Record]) -> dict[str, Any]:
    """What took part: components with version and hash, software, platforms, seeds, dates."""
    components: dict[str, str] = {}
    for record in records:
        for name, ref in record.components.items():
            components[name] = f"{ref.version} ({ref.hash[:12]})"
    software = {name: version for record in records for name, version in record.software.items()}
    platforms = {_platform(record.platform) for record in records}
    seeds = sorted({record.seed for record in records if record.seed is not None})
    times = sorted(record.time for record in records)
    return {
        "components": dict(sorted(components.items())),
        "software": dict(sorted(software.items())),
        "platforms": sorted(platforms),
        "seeds": seeds,
        "from": times[0] if times else "",
        "to": times[-1] if times else "",
    }


def _platform(platform: Mapping[str, str | int]) -> str:
    memory = int(platform.get("memory_bytes", 0)) / 2**30
    names = ("processor", "cores", "machine", "system")
    known = [
        f"{platform[name]} {name}" if name == "cores" else str(platform[name])
        for name in names
        if name in platform
    ]
    return ", ".join([*known, f"{memory:.0f} GiB memory"] if memory else known)
