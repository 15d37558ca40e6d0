"""What a comparison says about calibration: temperatures, calibration errors, reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.core.result import Record
from holdfast.hub.render import number, table
from holdfast.programs import particle_charts
from holdfast.programs.report_sections import select

_SERIES = {False: "as trained", True: "at its temperature"}


def section(records: Sequence[Record]) -> dict[str, Any] | None:
    """Diagram, words and table of the models that were calibrated; None without any."""
    models = list(dict.fromkeys(str(r.labels["model"]) for r in select(records, "temperature")))
    if not models:
        return None
    rows = [
        {
            "model": str(r.labels["model"]),
            "confidence": r.labels["confidence"],
            "value": r.value,
            "low": r.interval.low,
            "high": r.interval.high,
            "series": _SERIES[bool(r.labels["calibrated"])],
        }
        for r in select(records, "reliability")
        if r.interval is not None
    ]
    figure = {
        "title": "Reliability",
        "svg": particle_charts.reliability_diagram(rows),
        "caption": "Test images in bins of equal numbers by confidence; 95 % intervals. On the dashed line "
        "confidences are what they say; below it the model is too sure of itself.",
    }
    about = (
        "The temperature is fitted on the validation split, everything below is measured on the test split. "
        "Decisions and ROC-AUC stay as they are. A calibration error is never 0 on finitely many images: "
        "beside it is what a model of the same confidences would show if all of them were true."
    )
    return {
        "title": "Calibration",
        "about": about,
        "sentences": [_in_words(records, model) for model in models],
        "figures": [figure],
        "tables": [_table(records, models)],
    }


def _in_words(records: Sequence[Record], model: str) -> str:
    """What the temperature did, and whether anything still speaks against the confidences."""
    fitted = select(records, "temperature", model=model)[0]
    span = fitted.interval
    told = f"{model}: temperature {_text(fitted)}, "
    if span is not None and span.low <= 1 <= span.high:
        told += "which is not told from 1"
    else:
        told += "it was " + ("too sure" if (fitted.value or 0) > 1 else "not sure enough") + " of itself"
    before, after = (_one(records, "ece", model, calibrated) for calibrated in (False, True))
    ideal = _one(records, "ece_if_calibrated", model, True)
    high = ideal.interval.high if ideal.interval else ideal.value
    verdict = (
        "no more than a perfectly calibrated model may show"
        if (after.value or 0.0) <= (high or 0.0)
        else "more than a perfectly calibrated model would show"
    )
    return f"{told}; calibration error {_text(before)} → {_text(after)}, {verdict} (up to {number(high, 3)})."


def _table(records: Sequence[Record], models: Sequence[str]) -> Any:
    rows = []
    for model in models:
        for calibrated, series in _SERIES.items():
            metrics = ("ece", "ece_if_calibrated", "cross_entropy")
            cells = [_text(_one(records, metric, model, calibrated)) for metric in metrics]
            rows.append([model, series, *cells])
    headers = ["model", "", "calibration error", "if calibrated", "cross-entropy (nat)"]
    return table("Calibration on the test split; brackets are 95 % intervals.", headers, rows)


def _one(records: Sequence[Record], metric: str, model: str, calibrated: bool) -> Record:
    return select(records, metric, model=model, calibrated=calibrated)[0]


def _text(record: Record) -> str:
    span = record.interval
    limits = f" [{number(span.low, 3)}, {number(span.high, 3)}]" if span else ""
    return f"{number(record.value, 3)}{limits}"
