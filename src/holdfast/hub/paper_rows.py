"""Claims beside the records that rerun them: what was measured for each, and how far that counts."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose

from holdfast.core.errors import UsageError
from holdfast.core.result import Interval, Record
from holdfast.hub import store
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import Claim, ClaimStatus, Paper, RecordSelector


@dataclass(frozen=True)
class Row:
    """A claim, what was measured for it (None: nothing), and how far that counts.

    ``difference`` is measured minus claimed, in the claim's unit. ``status`` is "not run" where there is no
    record, "reduced" where the record falls short of the claim's scale, else the claim's own; ``reduced_how``
    says what was cut. ``agrees`` is None where nothing was measured or the claim asks for no agreement.
    ``record`` is what was measured, whole.
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
    record: Record | None = None

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
        record,
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
    if claim.record is None or not selects(claim.record, item.record):
        return False
    return claim.workflow is None or claim.workflow.partition("@")[0] in item.record.components


def selects(wanted: RecordSelector, record: Record) -> bool:
    """Whether ``record`` has the metric and labels that are wanted, and a value."""
    if record.metric != wanted.metric or record.value is None or record.status != "ok":
        return False
    return all(record.labels.get(name) == value for name, value in wanted.labels.items())
