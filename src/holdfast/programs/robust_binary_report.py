"""Program ``robust-binary-report``: tables and figures of a rerun in one HTML file."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.paths import write_text
from holdfast.core.result import read_records


def run(out: Path, *, title: str, records: Path, networks: Path | None) -> None:
    """Write ``out/report.html`` from the records of program ``robust-binary`` and the network it draws."""
    from holdfast.hub.render import render
    from holdfast.programs import report_sections, robust_binary_tables
    from holdfast.programs import robust_binary_sections as sections
    from holdfast.programs.robust_binary_cells import PACKED

    everything = read_records(records)
    network = networks / PACKED if networks is not None and (networks / PACKED).exists() else None
    html = render(
        "robust_binary.html.j2",
        folder=Path(__file__).parent / "templates",
        title=title,
        scale=sections.scale(everything),
        verdicts=sections.verdicts(everything),
        tables=robust_binary_tables.tables(everything),
        figures=sections.figures(everything, network),
        failed=[record for record in everything if record.status != "ok"],
        provenance=report_sections.provenance(everything),
        count=len(everything),
    )
    write_text(out / "report.html", html)
