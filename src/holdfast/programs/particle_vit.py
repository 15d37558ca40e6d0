"""Program ``particle-vit``: the report of a rerun of the particle proposal, and records for its claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.core.paths import write_text
from holdfast.core.result import Record, read_records, write_records


def run(
    out: Path,
    *,
    title: str,
    records: list[Path],
    jet_records: list[Path],
    curves: list[Path],
    jet_curves: list[Path],
    sizes_records: Path | None,
    sizes_chart: Path | None,
    quantised_records: Path | None,
    choice: Path | None,
    cmssw_records: Path | None,
    data: Path,
    jet_data: Path,
) -> None:
    """Write ``out/report.html`` and one record for each claim that was measured to ``out/records.jsonl``.

    ``records`` are of the programs bench, curves and calibrate on e/γ images, ``jet_records`` of bench on
    jets, ``data`` and ``jet_data`` the folders that pin these down.
    """
    from holdfast.data.manifest import data_name
    from holdfast.hub.render import render
    from holdfast.programs import particle_vit_sections as sections
    from holdfast.programs import report_sections
    from holdfast.programs.comparison import comparison_sections
    from holdfast.programs.particle_vit_claims import claimed

    egamma, jets = _all(records), _all(jet_records)
    sizes, quantised, cmssw = (
        _all([path] if path else []) for path in (sizes_records, quantised_records, cmssw_records)
    )
    chosen = json.loads(choice.read_text(encoding="utf-8")) if choice else None
    shown: list[dict[str, Any] | None] = [
        sections.tasks(egamma, jets),
        sections.curves("Electrons and photons: training", curves),
        *_under("Electrons and photons", comparison_sections(egamma)),
        sections.sizes(sizes, sizes_chart),
        sections.quantised(quantised, chosen),
        sections.package(cmssw),
        sections.curves("Quarks and gluons: training", jet_curves),
        *_under("Quarks and gluons", comparison_sections(jets)),
    ]
    everything = [*egamma, *jets, *sizes, *quantised, *cmssw]
    html = render(
        "comparison.html.j2",
        folder=Path(__file__).parent / "templates",
        title=title,
        simulated=report_sections.simulated(everything),
        sections=[section for section in shown if section is not None],
        provenance=report_sections.provenance(everything),
        count=len(everything),
    )
    write_text(out / "report.html", html)
    names = {"egamma": data_name(data), "jets": data_name(jet_data)}
    write_records(out / "records.jsonl", claimed(egamma, jets, names))


def _all(paths: list[Path]) -> list[Record]:
    return [record for path in paths for record in read_records(path)]


def _under(title: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**section, "title": f"{title}: {section['title'].lower()}"} for section in found]
