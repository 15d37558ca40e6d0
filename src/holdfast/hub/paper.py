"""Live papers: published claims beside the records that rerun them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import UsageError
from holdfast.core.paths import write_text
from holdfast.core.result import Interval
from holdfast.hub import render, store
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import Claim, ClaimStatus, Paper


@dataclass(frozen=True)
class Row:
    """A claim, what was measured for it (None: nothing), and how far that counts.

    ``difference`` is measured minus claimed, in the claim's unit. ``status`` is the claim's own where there
    is a record, and "not run" where there is none.
    """

    claim: Claim
    measured: float | None
    interval: Interval | None
    difference: float | None
    status: ClaimStatus
    simulated: bool
    run: str | None

    @property
    def reproduced(self) -> bool:
        """True for "reproduced at source scale" only."""
        return self.status == "reproduced at source scale"


def rows(paper: Component, stored: list[store.Stored] | None = None) -> list[Row]:
    """One row a claim, with the newest run that measured it, from ``stored`` or from all experiments.

    Raises UsageError where several records of that run fit one claim, or the units differ.
    """
    claims = described(paper, Paper).claims
    everything = store.entries() if stored is None else stored
    return [_row(paper, claim, everything) for claim in claims]


def write(paper: Component, path: Path, stored: list[store.Stored] | None = None) -> list[Row]:
    """Render the claims to one HTML file; return the rows. Raises StorageError and what ``rows`` raises."""
    found = rows(paper, stored)
    meta = described(paper, Paper)
    html = render.render("paper.html.j2", title=meta.title, paper=meta, rows=found, component=paper)
    write_text(path, html)
    return found


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
    difference = record.value - claim.value
    return Row(claim, record.value, record.interval, difference, claim.status, record.simulated, newest)


def _fits(claim: Claim, item: store.Stored) -> bool:
    wanted, record = claim.record, item.record
    if wanted is None or record.metric != wanted.metric or record.value is None or record.status != "ok":
        return False
    if claim.workflow is not None and claim.workflow.partition("@")[0] not in record.components:
        return False
    return all(record.labels.get(name) == value for name, value in wanted.labels.items())
