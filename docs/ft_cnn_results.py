"""The measured part of ``docs/ft-cnn.md``: tables made from the records of one run of the live paper."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from holdfast.core.result import Record, read_records, write_records
from holdfast.programs import fault_sections, overhead_sections
from holdfast.programs.report_sections import BREAKDOWNS, select, value_text

RECORDS = Path(__file__).parent.parent / "benchmarks" / "records" / "ft_cnn.jsonl"
STRESS = ("critical_sdc_rate", "sdc_rate", "detected_rate", "crash_rate", "accuracy")
PROTECTION = ("detected_rate", "corrected_rate", "discarded_rate", "misjudged_rate")
SITES = {"output": "outputs", "accumulator": "accumulators", "input": "inputs", "weight": "weights"}


def keep(run: Path) -> None:
    """Keep what the page shows of the records of a run (``records.jsonl``) in ``RECORDS``."""
    write_records(RECORDS, [record for record in read_records(run) if _shown(record)])


def _shown(record: Record) -> bool:
    labels = record.labels
    if record.metric in ("overhead", "scheme_time", "scheme_ratio", "fired", "rule_kept"):
        return True
    if "fault" in labels:
        return record.metric in PROTECTION and labels.get("value") == "any"
    return record.metric in STRESS and "stressor" in labels and not {*BREAKDOWNS} & labels.keys()


def section() -> str:
    """The tables, or a word that there are none yet."""
    if not RECORDS.exists():
        return "# Measured\n\nNo run is kept yet: `python docs/ft_cnn.py ft-cnn/records.jsonl` keeps one.\n"
    records = read_records(RECORDS)
    first = records[0]
    place = f"{first.platform['processor']}, {first.platform['cores']} cores"
    parts = [
        "# Measured\n",
        f"One run of the default ({first.time[:10]}, {place}); records: `benchmarks/records/ft_cnn.jsonl`.\n",
        *_protection(records),
        *_overhead(records),
        *_single(records),
        *_rates(records),
    ]
    return "\n".join(parts)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = [*columns]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _protection(records: list[Record]) -> list[str]:
    parts = ["## Which scheme corrects which fault\n"]
    parts += [f"{sentence}\n" for sentence in fault_sections.verdicts(records)]
    for half in fault_sections.matrix(records):
        rows = [
            [row["scheme"], *(cell["word"] if cell else "–" for cell in row["cells"])] for row in half["rows"]
        ]
        parts += [f"{half['title']}:\n", _table(["scheme", *half["columns"]], rows)]
    fired = [[where, rung, often] for where, rung, often in fault_sections.rungs(records)]
    return [*parts, "How often each rung put things right:\n", _table(["where", "rung", "how often"], fired)]


def _overhead(records: list[Record]) -> list[str]:
    parts = ["## Overhead\n"]
    for table in overhead_sections.tables(records):
        rows = [[row["title"], row["pairs"], *map(_text, row["cells"])] for row in table["rows"]]
        parts += [
            f"{table['title']}. {table['caption']}\n",
            _table(["model", "pairs", *table["columns"]], rows),
        ]
        parts += [f"- {reason}: {what}" for reason, what in table["reasons"]]
        parts += [""] if table["reasons"] else []
    schemes = overhead_sections.scheme_table(records)
    if schemes:
        rows = [[row["title"], *map(_text, row["cells"])] for row in schemes["rows"]]
        parts += ["Time of each scheme on all layers, in per cent of the model's:\n"]
        parts += [_table(["scheme", *schemes["columns"]], rows)]
    return parts


def _text(cell: tuple[str, str, str]) -> str:
    return " ".join(part for part in cell[:2] if part)


def _single(records: list[Record]) -> list[str]:
    """Decisions changed by single flips."""
    rows = {}
    for site, where in SITES.items():
        found = select(
            records, "critical_sdc_rate", stressor="bit_flips", site=site, bits="all", without=BREAKDOWNS
        )
        for r in found:
            rows.setdefault((str(r.labels["model"]), str(r.labels["protection"])), {})[where] = _rate(r)
    if not rows:
        return []
    columns = list(dict.fromkeys(where for cells in rows.values() for where in cells))
    lines = [[*key, *(cells.get(where, "not run") for where in columns)] for key, cells in rows.items()]
    return [
        "## Single flips: decisions changed unnoticed\n",
        "One flipped bit a trial, any of the 32; 95 % Wilson intervals, number of trials.\n",
        _table(["model", "protection", *columns], lines),
    ]


def _rate(record: Record) -> str:
    return f"{' '.join(value_text(record)).strip()} of {record.n}"


def _rates(records: list[Record]) -> list[str]:
    """Accuracy of the answers and refused batches, against the rate of faults in memory."""
    rows: dict[tuple[Any, ...], dict[str, Record]] = {}
    for metric in ("accuracy", "detected_rate"):
        for r in select(records, metric, stressor="memory_faults", without=BREAKDOWNS):
            key = (
                str(r.labels["model"]),
                float(r.labels["ber"]),
                str(r.labels["protection"]),
                r.labels["ecc"],
            )
            rows.setdefault(key, {})[metric] = r
    if not rows:
        return []
    lines = []
    for (model, ber, protection, ecc), cells in sorted(rows.items(), key=lambda item: item[0][:2]):
        answered = cells.get("accuracy")
        each = [_rate(answered) if answered and answered.value is not None else "none answered"]
        each.append(_rate(cells["detected_rate"]))
        lines.append(
            [model, f"{ber:.0e}", fault_sections.SERIES.get((protection, str(ecc)), protection), *each]
        )
    return [
        "## Faults in memory at a rate\n",
        "Accuracy of the batches that were answered; refused: the batch ended in an error of the memory"
        " or of Holdfast in place of an answer.\n",
        _table(["model", "flips a bit", "memory", "accuracy", "refused"], lines),
    ]
