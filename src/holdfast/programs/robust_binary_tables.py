"""The tables of the rerun, made from its records, for the report and for the docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from holdfast.core.result import Label, Record
from holdfast.hub.render import number
from holdfast.programs.robust_binary_cells import comparison_rows
from holdfast.programs.robust_binary_derived import chosen

Cell = tuple[str, bool]
"""The text of a cell, and whether it is the best of its kind."""
INITS = {"binary": "binary", "kaiming_constant": "signed Kaiming constant"}
METHODS = {"at": "AT", "hydra": "HYDRA", "atmc": "ATMC", "ours": "ours", "ours fast": "ours (Fast)"}
SPREAD = "brackets: lowest and highest seed, or with one seed the 95 % Wilson interval over the images"


def tables(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Tables with ``title``, ``caption``, ``columns`` and ``rows`` of (title, cells); none that is empty."""
    made = [*_accuracies(records), *_counts(records)]
    return [table for table in made if any(text != "–" for _, cells in table["rows"] for text, _ in cells)]


def _accuracies(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    rates, powers = _values(records, "p-r", "prune_rate"), _values(records, "p-r", "p")
    columns = [
        _column(records, [{"table": "p-r", "prune_rate": rate, "p": p} for p in powers]) for rate in rates
    ]
    yield {
        "title": "Robust accuracy over pruning rate r and p",
        "caption": f"In per cent; {SPREAD}; bold: the best p of each r.",
        "columns": ["p", *(f"r = {rate:g}" for rate in rates)],
        "rows": [(f"{p:g}", [column[i] for column in columns]) for i, p in enumerate(powers)],
    }
    scales = _values(records, "lbn-a", "score_scale")
    yield {
        "title": "LBN, over the scale a of the scores",
        "caption": f"Robust accuracy in per cent; {SPREAD}; bold: the best a.",
        "columns": ["", *(f"a = {a:g}" for a in scales)],
        "rows": [
            (
                lbn(last),
                _column(records, [{"table": "lbn-a", "last_norm": last, "score_scale": a} for a in scales]),
            )
            for last in (False, True)
        ],
    }
    powers = _values(records, "lbn-init", "p")
    pairs = [(init, last) for init in ("kaiming_constant", "binary") for last in (False, True)]
    columns = [
        _column(records, [{"table": "lbn-init", "init": init, "last_norm": last, "p": p} for p in powers])
        for init, last in pairs
    ]
    yield {
        "title": "LBN, over initialisations",
        "caption": f"Robust accuracy in per cent; {SPREAD}; bold: the best p.",
        "columns": ["p", *(f"{INITS[init]}, {lbn(last)}" for init, last in pairs)],
        "rows": [(f"{p:g}", [column[i] for column in columns]) for i, p in enumerate(powers)],
    }
    for classes in (10, 100):
        yield _comparison(records, classes)


def _comparison(records: Sequence[Record], classes: int) -> dict[str, Any]:
    shown = [(kind, weights) for kind in ("robust", "clean") for weights in ("float", "binary")]
    rows = comparison_rows()
    columns = [
        _column(
            records,
            [{"table": "comparison", "classes": classes, "weights": weights, **row.where} for row in rows],
            f"{kind}_accuracy_mean",
        )
        for kind, weights in shown
    ]
    titles = [
        f"{METHODS[row.name]}, {lbn(row.last_norm)}" + ("" if row.strategy == "none" else f", {row.strategy}")
        for row in rows
    ]
    names = {"float": "full precision", "binary": "binary"}
    return {
        "title": f"Comparison, {classes} classes",
        "caption": f"Pruned to 1 % but AT; in per cent; {SPREAD}; bold: the best of a column.",
        "columns": ["method", *(f"{kind}, {names[weights]}" for kind, weights in shown)],
        "rows": [(title, [column[i] for column in columns]) for i, title in enumerate(titles)],
    }


def _counts(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    for model in ("resnet34", "convnet"):
        rates = (0.5, 0.9, 0.99)
        powers = sorted({float(r.labels["p"]) for r in chosen(records, "log10_masks", model=model)})
        columns = [
            [_text(chosen(records, f"log10_{what}", model=model, prune_rate=rate, p=p), 5) for p in powers]
            for rate in rates
            for what in ("masks", "paths")
        ]
        for column in columns:
            _mark(column)
        yield {
            "title": f"Masks and paths to choose from, {model}",
            "caption": "log10 of ∏ C(n_i, m_i) and of ∏ m_i; bold: the largest; p > 1 to compare.",
            "columns": ["p", *(f"{what}, r = {rate:g}" for rate in rates for what in ("masks", "paths"))],
            "rows": [(f"{p:g}", [column[i][0] for column in columns]) for i, p in enumerate(powers)],
        }
    passes = ("forward", "backward")
    found = {
        model: [
            _text(chosen(records, "operations_saved", model=model, **{"pass": each}), 4) for each in passes
        ]
        for model in ("resnet34", "convnet")
    }
    yield {
        "title": "Operations that ±1 weights save",
        "caption": "Per cent of the additions and multiplications of convolutions and products, counted. Time"
        " is another matter: PyTorch multiplies by ±1 as by any other weight.",
        "columns": ["model", *passes],
        "rows": [(model, [(text, False) for (text, _), _ in cells]) for model, cells in found.items()],
    }


_Valued = tuple[Cell, float | None]


def _column(
    records: Sequence[Record], places: Sequence[dict[str, Label]], metric: str = "robust_accuracy_mean"
) -> list[Cell]:
    """Cells of ``places``, the largest one marked as the best."""
    column = [_text(chosen(records, metric, **place), 3) for place in places]
    _mark(column)
    return [cell for cell, _ in column]


def _mark(column: list[_Valued]) -> None:
    values = [value for _, value in column if value is not None]
    for i, ((text, _), value) in enumerate(column):
        column[i] = (text, len(values) > 1 and value == max(values)), value


def _text(found: Sequence[Record], digits: int) -> _Valued:
    if not found or found[0].value is None:
        return ("–", False), None
    record = found[0]
    text = number(record.value, digits)
    if record.unit == "%" and record.interval:
        text = f"{record.value:.1f} [{record.interval.low:.1f}, {record.interval.high:.1f}]"
    return (text, False), record.value


def _values(records: Sequence[Record], table: str, name: str) -> list[float]:
    return sorted({float(r.labels[name]) for r in chosen(records, table=table)})


def lbn(last_norm: bool) -> str:
    """With it or without."""
    return "with LBN" if last_norm else "without LBN"
