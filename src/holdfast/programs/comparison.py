"""Program ``comparison``: several models side by side in one HTML file, from what was measured on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.paths import write_text
from holdfast.core.result import Record, read_records


def run(out: Path, *, title: str, records: list[Path]) -> None:
    """Write ``out/report.html`` from records of the programs bench, curves and calibrate.

    Sections whose measurements are absent are left out, never invented.
    """
    write_comparison(
        out / "report.html", [record for path in records for record in read_records(path)], title=title
    )


def write_comparison(path: Path, records: list[Record], *, title: str) -> None:
    """Render the comparison of ``records`` to ``path``. Raises UsageError without the extra ``report``."""
    from holdfast.hub.render import render
    from holdfast.programs import report_sections

    html = render(
        "comparison.html.j2",
        folder=Path(__file__).parent / "templates",
        title=title,
        simulated=report_sections.simulated(records),
        sections=comparison_sections(records),
        provenance=report_sections.provenance(records),
        count=len(records),
    )
    write_text(path, html)


def comparison_sections(records: list[Record]) -> list[dict[str, Any]]:
    """The sections that ``records`` allow: title, about, sentences, figures (title, svg, caption), tables."""
    from holdfast.programs import comparison_calibration, comparison_cost, comparison_harm

    rooms = (comparison_cost, comparison_harm, comparison_calibration)
    return [section for room in rooms if (section := room.section(records)) is not None]
