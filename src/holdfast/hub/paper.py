"""Live papers: published claims beside the records that rerun them, with what artifact reviewers ask for."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.core.paths import write_text
from holdfast.core.result import Record
from holdfast.hub import render, store
from holdfast.hub.appendix import appendix, appendix_markdown, checklist, checklist_markdown
from holdfast.hub.badges import badges
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import Figure, Paper
from holdfast.hub.paper_context import context_of
from holdfast.hub.paper_rows import Row, rows, selects
from holdfast.hub.run_record import Run, experiments

__all__ = ["APPENDIX", "CHECKLIST", "PAGE", "Row", "Shown", "rows", "write", "write_beside"]

PAGE: Final = "paper.html"
APPENDIX, CHECKLIST = "artifact-appendix.md", "reproducibility-checklist.md"
_IMAGES = frozenset({".svg", ".png", ".jpg", ".webp"})
_MOST = 200


@dataclass(frozen=True)
class Shown:
    """A record as the page shows it: its id, where its file is, and its JSON."""

    uid: str
    run: str
    link: str | None
    text: str


@dataclass(frozen=True)
class FigureShown:
    """A figure: where it is beside the page (None: not made), and ids of the records that it shows."""

    figure: Figure
    link: str | None
    image: bool
    records: list[str]
    more: int


def write(
    paper: Component, path: Path, stored: list[store.Stored] | None = None, beside: Sequence[str] = ()
) -> list[Row]:
    """Render the claims to one HTML file; return the rows. Raises StorageError and what ``rows`` raises.

    ``stored``: the records to use, by default those of all experiments. ``beside``: names of pages in the
    same folder that the page leads to. Every number leads to its record, which the page holds as JSON and
    whose file it links, relative to itself, where that is on this machine.
    """
    everything = store.entries() if stored is None else stored
    html, found, _ = _rendered(paper, path.parent, everything, beside)
    write_text(path, html)
    return found


def write_beside(paper: Component, run: Run) -> Path:
    """Render the claims beside the records of ``run`` into the run's own folder; return the file.

    The artifact appendix and the reproducibility checklist lie there as Markdown, too.
    """
    folder = run.out or run.folder
    assert folder is not None  # a run that ended is kept
    stored = [store.Stored(run.component.partition(":")[2], run.id, record) for record in run.records]
    pages = sorted(path.name for path in folder.glob("*.html") if path.name != PAGE)
    html, _, texts = _rendered(paper, folder, stored, pages)
    for name, text in texts.items():
        write_text(folder / name, text)
    write_text(folder / PAGE, html)
    return folder / PAGE


def _rendered(
    paper: Component, folder: Path, stored: list[store.Stored], beside: Sequence[str]
) -> tuple[str, list[Row], dict[str, str]]:
    found = rows(paper, stored)
    meta = described(paper, Paper)
    context = context_of(paper)
    used: dict[str, Shown] = {}
    by_row = {row.claim.id: _show(used, row.record, row.run, stored, folder) for row in found if row.record}
    figures = [_figure(figure, stored, folder, used) for figure in meta.figures]
    newest = max((item.run for item in stored), default=None)
    records = [item.record for item in stored if item.run == newest]
    sections, answers = appendix(context, found), checklist(context, found, records)
    texts = {APPENDIX: appendix_markdown(sections), CHECKLIST: checklist_markdown(answers)}
    html = render.render(
        "paper.html.j2",
        title=meta.title,
        paper=meta,
        rows=found,
        component=paper,
        beside=beside,
        shown=by_row,
        records=list(used.values()),
        figures=figures,
        badges=badges(context, found),
        sections=sections,
        answers=answers,
    )
    return html, found, texts


def _show(
    used: dict[str, Shown], record: Record, run: str | None, stored: list[store.Stored], folder: Path
) -> str:
    """The id of a record that the page will hold."""
    uid = record.uid
    if uid not in used:
        experiment = next((item.experiment for item in stored if item.run == run), "")
        text = json.dumps(record.to_json(), indent=1, ensure_ascii=False)
        used[uid] = Shown(uid, run or "", _link(folder, experiment, run or ""), text)
    return uid


def _link(folder: Path, experiment: str, run: str) -> str | None:
    """Where the file of a run's records is, relative to the page; None where it is not on this machine."""
    kept = experiments() / experiment / run / "records.jsonl"
    if kept.is_file():
        return Path(os.path.relpath(kept, folder.resolve())).as_posix()
    return None


def _figure(figure: Figure, stored: list[store.Stored], folder: Path, used: dict[str, Shown]) -> FigureShown:
    showing = [item for item in stored if any(selects(each, item.record) for each in figure.records)]
    newest = max((item.run for item in showing), default=None)
    showing = [item for item in showing if item.run == newest]
    uids = [_show(used, item.record, item.run, stored, folder) for item in showing[:_MOST]]
    there = (folder / figure.output).is_file()
    image = there and Path(figure.output).suffix in _IMAGES
    return FigureShown(figure, figure.output if there else None, image, uids, max(0, len(showing) - _MOST))
