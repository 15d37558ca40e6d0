"""Live papers: published claims beside the records that rerun them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Final

from holdfast.core.errors import UsageError
from holdfast.core.paths import write_text
from holdfast.core.result import Interval, Record
from holdfast.hub import render, store
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import Claim, ClaimStatus, Paper
from holdfast.hub.run_record import Run

PAGE: Final = "paper.html"


@dataclass(frozen=True)
class Row:
    """A claim, what was measured for it (None: nothing), and how far that counts.

    ``difference`` is measured minus claimed, in the claim's unit. ``status`` is "not run" where there is no
    record, "reduced" where the record falls short of the claim's scale, else the claim's own; ``reduced_how``
    says what was cut. ``agrees`` is None where nothing was measured or the claim asks for no agreement.
    """

    claim: Claim
    measured: float | None
    interval: Interval | None
    difference: float | None
    status: ClaimStatus
    simulated: bool
    run: str | None
    reduced_how: str | None = None
    agrees: bool | None = None

    @property
    def reproduced(self) -> bool:
        """True for "reproduced at source scale" only, and never where the value differs from the claim."""
        return self.status == "reproduced at source scale" and self.agrees is not False


def rows(paper: Component, stored: list[store.Stored] | None = None) -> list[Row]:
    """One row a claim, with the newest run that measured it, from ``stored`` or from all experiments.

    Raises UsageError where several records of that run fit one claim, or the units differ.
    """
    claims = described(paper, Paper).claims
    everything = store.entries() if stored is None else stored
    return [_row(paper, claim, everything) for claim in claims]


def write(
    paper: Component, path: Path, stored: list[store.Stored] | None = None, beside: Sequence[str] = ()
) -> list[Row]:
    """Render the claims to one HTML file; return the rows. Raises StorageError and what ``rows`` raises.

    ``beside``: names of pages in the same folder that the page leads to.
    """
    found = rows(paper, stored)
    meta = described(paper, Paper)
    html = render.render(
        "paper.html.j2", title=meta.title, paper=meta, rows=found, component=paper, beside=beside
    )
    write_text(path, html)
    return found


def write_beside(paper: Component, run: Run) -> Path:
    """Render the claims beside the records of ``run`` into the run's own folder; return the file."""
    folder = run.out or run.folder
    assert folder is not None  # a run that ended is kept
    stored = [store.Stored(run.component.partition(":")[2], run.id, record) for record in run.records]
    pages = sorted(path.name for path in folder.glob("*.html") if path.name != PAGE)
    write(paper, folder / PAGE, stored, pages)
    return folder / PAGE


def _row(paper: Component, claim: Claim, stored: list[store.Stored]) -> Row:
    fitting = [item for item in stored if _fits(claim, item)]
    if not fitting or claim.status == "not run":
        return Row(claim, None, None, None, "not run", False, None)
    newest = max(item.run for item in fitting)
    records = [item.record for item in fitting if item.run == newest]
    place = f"{paper.id} claim {claim.id!r}"
    if len(records) > 1:
        got = f"{len(records)} in run {newest}"
        raise UsageError(place, expected="one record", got=got, remedy="add labels to the claim's record")
    record = records[0]
    if record.unit != claim.unit:
        raise UsageError(place, expected=f"unit {claim.unit!r}", got=f"unit {record.unit!r} in run {newest}")
    assert record.value is not None  # _fits leaves absent values out
    cuts = [claim.reduced_how] if claim.reduced_how else []
    cuts += _cuts(claim, record)
    return Row(
        claim,
        record.value,
        record.interval,
        record.value - claim.value,
        "reduced" if cuts else claim.status,
        record.simulated,
        newest,
        "; ".join(cuts) or None,
        _agrees(claim, record.value),
    )


def _cuts(claim: Claim, record: Record) -> list[str]:
    """What the record lacks to the claim's scale, in words."""
    cuts = []
    for name, wanted in claim.scale.items():
        got = record.labels.get(name)
        if isinstance(wanted, str | bool):
            if got != wanted:
                cuts.append(f"{name}: {got}")
        elif isinstance(got, str) or got is None or got < wanted:
            cuts.append(f"{name.replace('_', ' ')}: {got} of {wanted}")
    return cuts


def _agrees(claim: Claim, measured: float) -> bool | None:
    if claim.agreement is None:
        return None
    if claim.agreement == "equal":
        return isclose(measured, claim.value, rel_tol=1e-9, abs_tol=1e-12)
    return measured <= claim.value if claim.agreement == "at most" else measured >= claim.value


def _fits(claim: Claim, item: store.Stored) -> bool:
    wanted, record = claim.record, item.record
    if wanted is None or record.metric != wanted.metric or record.value is None or record.status != "ok":
        return False
    if claim.workflow is not None and claim.workflow.partition("@")[0] not in record.components:
        return False
    return all(record.labels.get(name) == value for name, value in wanted.labels.items())
