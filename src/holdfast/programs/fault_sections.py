"""What the report says of checksums: the protection table, rungs, faults by bit and by rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from holdfast.core.result import Record
from holdfast.hub.render import number
from holdfast.programs import charts
from holdfast.programs.report_sections import Figure, select, value_text

SCHEMES = ("CoC-D", "CoC", "RC", "ClC", "FC", "workflow", "workflow with recompute")
FAULTS = {
    "element": "one element",
    "block": "one block",
    "row": "a row",
    "column": "a column",
    "across": "two blocks across",
    "D": "D in memory",
    "W": "W in memory",
    "row, Co2": "a row and Co2",
    "column, Co1": "a column and Co1",
}
SERIES = {
    ("plain", "none"): "plain",
    ("plain", "secded"): "plain, SECDED ECC",
    ("protected", "none"): "Holdfast",
    ("protected", "secded"): "Holdfast and SECDED ECC",
}
"""How a model in a memory is called, by protection and code."""
CHECKSUMS = ("Cd1", "Cd2", "Cw1", "Cw2", *(f"Co{n}" for n in range(1, 8)))
WHERE = {
    "output": "layer outputs",
    "accumulator": "accumulators",
    "input": "layer inputs",
    "weight": "weights",
}


def verdicts(records: Sequence[Record]) -> list[str]:
    """A sentence on the protection table, and one a case in which trials crashed."""
    sentences = []
    wrong = [
        r
        for r in select(records, "misjudged_rate", value="any")
        if str(r.labels["scheme"]).startswith("work")
    ]
    if wrong:
        bad, n = sum(round((r.value or 0) * (r.n or 0)) for r in wrong), sum(r.n or 0 for r in wrong)
        sentences.append(
            f"Of {n} faults in every block and position of small layers the workflow let {bad} pass as right."
        )
    crashed: dict[str, list[Record]] = {}
    for r in select(records, "crash_rate", without=("layer", "bit", "bit_class")):
        if r.value:
            where = f"{r.labels.get('model')} {r.labels.get('protection')}, {_stress_name(r)}"
            crashed.setdefault(where, []).append(r)
    for where, found in crashed.items():
        worst = max(found, key=lambda r: r.value or 0.0)
        sentences.append(
            f"Crashes: {where}: {' '.join(value_text(worst)).strip()} of {worst.n} trials ended in an"
            " exception, so that their other rates say little."
        )
    return sentences


def matrix(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The protection table in two halves: faults of the output, damaged checksums.

    Each cell: a ``word``, a ``kind`` that colours it (good, some, poor, quiet), ``detail`` with the rates.
    """
    found = {
        (r.metric, r.labels["scheme"], r.labels["fault"]): r
        for r in records
        if r.labels.get("value") == "any" and "scheme" in r.labels and "fault" in r.labels
    }
    halves = []
    for title, faults, judge in (
        ("Faults that spoil the output", FAULTS, _output_cell),
        ("Damaged checksums; the output is right", {name: name for name in CHECKSUMS}, _checksum_cell),
    ):
        rows = []
        for scheme in SCHEMES:
            cells = [judge(found, scheme, fault) for fault in faults]
            if any(cell is not None for cell in cells):
                rows.append({"scheme": scheme, "cells": cells})
        used = [fault for fault in faults if any(key[2] == fault for key in found)]
        if rows and used:
            halves.append({"title": title, "columns": list(faults.values()), "rows": rows})
    return halves


Found = dict[tuple[str, Any, Any], Record]


def _rate(found: Found, outcome: str, scheme: str, fault: str) -> float | None:
    record = found.get((f"{outcome}_rate", scheme, fault))
    return None if record is None else record.value


def _output_cell(found: Found, scheme: str, fault: str) -> dict[str, str] | None:
    detected, corrected = (_rate(found, what, scheme, fault) for what in ("detected", "corrected"))
    if detected is None or corrected is None:
        return None
    misjudged = _rate(found, "misjudged", scheme, fault) or 0.0
    n = found["detected_rate", scheme, fault].n
    detail = f"detected {detected:.1%}, corrected {corrected:.1%}, misjudged {misjudged:.1%} of {n}"
    if corrected == 1:
        word, kind = "corrects", "good"
    elif corrected > 0:
        word, kind = f"corrects {corrected:.0%}", "some"
    elif detected == 1:
        word, kind = "detects", "some"
    else:
        word, kind = ("misses" if detected == 0 else f"detects {detected:.0%}"), "poor"
    if misjudged:
        word, kind = f"{word}; {misjudged:.0%} wrongly", "poor"
    return {"word": word, "kind": kind, "detail": detail}


def _checksum_cell(found: Found, scheme: str, fault: str) -> dict[str, str] | None:
    detected, discarded = (_rate(found, what, scheme, fault) for what in ("detected", "discarded"))
    if detected is None or discarded is None:
        return None
    misjudged = _rate(found, "misjudged", scheme, fault) or 0.0
    n = found["detected_rate", scheme, fault].n
    detail = f"noticed {detected:.1%}, recognised {discarded:.1%}, misjudged {misjudged:.1%} of {n}"
    if misjudged:
        word, kind = f"spoils {misjudged:.0%}", "poor"
    elif detected == 0:
        word, kind = "not used", "quiet"
    elif discarded == 1:
        word, kind = "recognises", "good"
    elif discarded > 0:
        word, kind = f"recognises {discarded:.0%}", "some"
    else:
        word, kind = "notices", "some"
    return {"word": word, "kind": kind, "detail": detail}


def rungs(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """(where, rung, how often): the counters of the protection table, and of the campaigns on models."""
    rows = [
        (
            "protection table, scheme alone"
            if r.labels["where"] == "alone"
            else "protection table, workflow",
            r,
        )
        for r in select(records, "fired")
    ]
    table = [(where, str(r.labels["rung"]), f"{number(r.value)} faults") for where, r in rows]
    for r in select(records, "recovered_by_rate", without=("layer", "bit")):
        where = f"{r.labels.get('model')}, {_stress_name(r)}"
        share = " ".join(value_text(r))
        table.append((where, str(r.labels["rung"]), f"{share} of {r.n} trials"))
    return table


def _stress_name(record: Record) -> str:
    labels = record.labels
    if "ber" in labels:
        return f"memory at {number(float(labels['ber']))} a bit"
    return f"flips in {WHERE.get(str(labels.get('site')), str(labels.get('site')))}"


def bit_figures(records: Sequence[Record]) -> list[Figure]:
    """Silent data corruption by flipped bit, on a logarithmic axis, a figure a fault site."""
    figures = []
    for site, where in WHERE.items():
        rows = [
            {**_series(r), "bit": r.labels["bit"], "n": r.n or 1}
            for r in select(
                records, "sdc_rate", stressor="bit_flips", site=site, bits="all", without=("layer",)
            )
            if r.value is not None and "bit" in r.labels
        ]
        rows.sort(key=lambda row: -int(row["bit"]))
        if not rows:
            continue
        least = min(row["n"] for row in rows)
        figures.append(
            {
                "title": f"Silent data corruption: single flips in {where}",
                "svg": charts.log_rates(
                    [{**row, "bit": str(row["bit"])} for row in rows],
                    x="bit",
                    x_title="flipped bit of the float32 (31 sign, 30–23 exponent)",
                    y_title="SDC rate",
                    floor=1e-3,
                ),
                "caption": "Share of trials whose output differed and nobody noticed; 95 % Wilson intervals,"
                f" from {least} trials a bit. A bar without a point: none seen, and this much may be there.",
            }
        )
    return figures


def _series(record: Record) -> dict[str, Any]:
    span = record.interval
    return {
        "model": str(record.labels.get("model", "")),
        "protection": str(record.labels.get("protection", "")),
        "value": record.value,
        "low": span.low if span else record.value,
        "high": span.high if span else record.value,
    }


def rate_figures(records: Sequence[Record]) -> list[Figure]:
    """Answers that are right against the rate of faults in memory: plain, behind ECC, protected."""
    rows = list(_rate_rows(records))
    if not rows:
        return []
    return [
        {
            "title": "Right answers against the rate of faults in memory",
            "svg": charts.over_rates(
                sorted(rows, key=lambda row: (row["model"], row["series"], row["rate"])),
                x_title="probability of a flip, a stored bit",
                y_title="right answers",
            ),
            "caption": "Share of all images that were answered rightly: a batch that was refused (an"
            " uncorrectable word under ECC, a fault that Holdfast cannot correct) counts as not answered."
            " Struck are the weights that compute; what Holdfast reloads them from is not. Bootstrap"
            " intervals over trials.",
        }
    ]


def _rate_rows(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """A row a model, memory and rate; where every batch was refused no image was answered rightly."""
    whole = ("layer", "bit", "bit_class")
    for record in select(records, "detected_rate", stressor="memory_faults", without=whole):
        labels = record.labels
        same: dict[str, Any] = {
            name: labels[name] for name in ("model", "protection", "ber", "ecc", "memory") if name in labels
        }

        def found(metric: str, same: dict[str, Any] = same) -> list[Record]:
            measured = select(records, metric, without=whole, stressor="memory_faults", **same)
            return [r for r in measured if r.value is not None]

        refused = sum(r.value or 0.0 for m in ("detected_rate", "crash_rate", "hang_rate") for r in found(m))
        series = SERIES.get((str(labels.get("protection")), str(labels.get("ecc"))))
        more = {"series": series or str(labels.get("protection")), "rate": labels["ber"]}
        accuracy = found("accuracy")
        if accuracy:
            row = _series(accuracy[0])
            yield {**row, **more} | {name: row[name] * (1 - refused) for name in ("value", "low", "high")}
        elif refused >= 1:
            yield {**_series(record), **more, "value": 0.0, "low": 0.0, "high": 0.0}
