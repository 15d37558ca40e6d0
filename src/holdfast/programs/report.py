"""Program ``report``: one HTML file that shows what was measured and where each number comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.core import jsonl
from holdfast.core.paths import write_text
from holdfast.core.result import Record, read_records


def run(
    out: Path,
    *,
    title: str,
    records: list[Path],
    front: Path | None,
    histories: list[Path],
    data: Path | None,
) -> None:
    """Write ``out/report.html``; sections whose measurements are absent are left out, never invented."""

    everything = [record for path in records for record in read_records(path)]
    curves = {_series(path, index): list(jsonl.read(path)) for index, path in enumerate(histories)}
    write_report(
        out / "report.html",
        everything,
        title=title,
        front=json.loads(front.read_text()) if front else None,
        histories=curves,
        manifest=json.loads((data / "dataset.json").read_text()) if data else None,
    )


def write_report(
    path: Path,
    records: list[Record],
    *,
    title: str,
    front: dict[str, Any] | None = None,
    histories: dict[str, list[dict[str, Any]]] | None = None,
    manifest: dict[str, Any] | None = None,
) -> None:
    """Render the report of ``records`` to ``path``; sections without measurements are left out.

    ``front`` is what ``front.find_front`` returns, ``histories`` the epochs of trainings by model name.
    """
    from holdfast.hub.render import render
    from holdfast.programs import fault_sections as faults
    from holdfast.programs import overhead_sections as overhead
    from holdfast.programs import report_sections as sections

    shown = [record for record in records if not {"layer", "bit", "bit_class"} & record.labels.keys()]
    html = render(
        "report.html.j2",
        folder=Path(__file__).parent / "templates",
        title=title,
        simulated=sections.simulated(records),
        verdicts=[*overhead.verdicts(records), *faults.verdicts(records), *sections.verdicts(records)],
        summary=sections.summary(records),
        matrix=faults.matrix(records),
        overhead=overhead.tables(records),
        schemes=overhead.scheme_table(records),
        rungs=faults.rungs(records),
        figures=[
            *overhead.figures(records),
            *faults.rate_figures(records),
            *sections.front_figure(front, records),
            *faults.bit_figures(records),
            *sections.stress_figures(records),
            *sections.learning(histories or {}),
        ],
        manifest=manifest,
        provenance=sections.provenance(records),
        records=[_row(record) for record in shown],
        count=len(records),
    )
    write_text(path, html)


def _series(path: Path, index: int) -> str:
    """Name of the model whose training ``path`` describes, from the records beside it."""
    beside = path.parent.parent / "records.jsonl"
    if beside.exists():
        for record in read_records(beside):
            return str(record.labels.get("model", f"training {index + 1}"))
    return f"training {index + 1}"


def _row(record: Record) -> dict[str, Any]:
    labels = ", ".join(f"{key}={value}" for key, value in record.labels.items())
    return {"record": record, "labels": labels}
