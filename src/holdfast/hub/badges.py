"""Evidence for ACM's artifact badges (version 1.1, 2020): what is known for each, and what is missing.

A badge is awarded by a committee. What is said here is computed from components, runs, claims and replays,
and is never an award.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.hub.paper_context import Context
from holdfast.hub.paper_rows import Row


@dataclass
class Badge:
    """A badge: what ACM asks for it, the evidence found, and what is missing or only people can say."""

    name: str
    asks: str
    evidence: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def weigh(self, holds: Any, evidence: str, missing: str) -> None:
        """Add to the evidence where it ``holds``, else to what is missing."""
        if holds:
            self.evidence.append(evidence)
        else:
            self.missing.append(missing)


def badges(context: Context, rows: Sequence[Row]) -> list[Badge]:
    """The five badges in ACM's order."""
    return [
        _available(context),
        _functional(context),
        _reusable(context),
        _reproduced(context, rows),
        _replicated(context, rows),
    ]


def _available(context: Context) -> Badge:
    badge = Badge("Artifacts Available", "a public archive holds the artifact, under a lasting identifier")
    parts = context.parts
    badge.evidence.append(
        f"{_count(parts, 'component')} by version and content hash; this one is "
        f"{context.component.id} {context.paper.version}, {context.component.hash[:16]}"
    )
    badge.weigh(context.license, f"licence {context.license}", "a licence")
    archive = context.paper.archive
    badge.weigh(archive, f"archived at {archive}", "the DOI or address of an archive that holds it")
    if archive:
        badge.missing.append("a look whether the archive holds these hashes: Holdfast does not fetch it")
    return badge


def _functional(context: Context) -> Badge:
    badge = Badge("Artifacts Evaluated: Functional", "documented, complete, exercisable, verified")
    inputs = [item for part in context.parts for item in part.inputs.values()]
    described = sum(bool(item.description) for item in inputs)
    badge.weigh(
        context.paper.description and described == len(inputs),
        f"described, as are all {len(inputs)} inputs of its parts",
        f"descriptions: {described} of {len(inputs)} inputs have one",
    )
    steps = context.plan.steps if context.plan else ()
    badge.weigh(
        steps,
        f"complete: all {_count(steps, 'step')} of its workflow have their program",
        f"a workflow that can be loaded: {context.problem}",
    )
    good = context.good
    hosts = sorted({run["host"] for run in good})
    newest = f"; the newest is {good[-1]['id']}" if good else ""
    badge.weigh(
        good,
        f"{_count(good, 'run')} of {len(context.runs)} ended well, on {_count(hosts, 'host')}{newest}",
        f"a run that ended well ({len(context.runs)} kept here)",
    )
    checks = sum(len(part.meta.checks) for part in context.parts)
    badge.weigh(
        checks,
        f"{checks} checks of its parts (holdfast test)",
        "checks of its own",
    )
    return badge


def _reusable(context: Context) -> Badge:
    badge = Badge(
        "Artifacts Evaluated: Reusable", "functional, and so well made that others reuse and repurpose it"
    )
    inputs = len(context.plan.component.inputs) if context.plan else 0
    badge.weigh(inputs, f"{inputs} typed inputs of its workflow, checked before it runs", "inputs to vary")
    badge.weigh(context.locked, "a lock of all versions", "a lock (holdfast lock)")
    used = {repr(sorted(run["inputs"].items())) for run in context.good}
    badge.weigh(
        len(used) > 1,
        f"run on {len(used)} different sets of inputs",
        f"runs on other inputs ({len(used)} so far)",
    )
    platforms = {(run["platform"].get("processor"), run["platform"].get("system")) for run in context.good}
    badge.weigh(
        len(platforms) > 1,
        f"run on {len(platforms)} platforms",
        f"runs on other platforms ({len(platforms)} so far)",
    )
    badge.missing.append("a reader's judgement of how well it is made")
    return badge


def _reproduced(context: Context, rows: Sequence[Row]) -> Badge:
    badge = Badge(
        "Results Reproduced", "others than the authors obtained the main results, with the authors' artifacts"
    )
    _claims(badge, rows)
    elsewhere = [replay for replay in context.replays if replay.other_host]
    good = [replay for replay in elsewhere if replay.verdict == "reproduced"]
    badge.weigh(
        good,
        f"{len(good)} of {_count(elsewhere, 'replay')} on other hosts came out the same: "
        + ", ".join(sorted({replay.host for replay in good})),
        f"a replay on another host that came out the same ({len(elsewhere)} tried)",
    )
    here = [replay for replay in context.replays if not replay.other_host]
    if here:
        same = sum(replay.verdict == "reproduced" for replay in here)
        badge.evidence.append(f"{same} of {_count(here, 'replay')} on the same host came out the same")
    badge.missing.append(
        "whether those who ran it are others than the authors: a record names hosts, not people"
    )
    return badge


def _replicated(context: Context, rows: Sequence[Row]) -> Badge:
    badge = Badge(
        "Results Replicated", "others than the authors obtained the main results, without their artifacts"
    )
    _claims(badge, rows)
    stated = context.paper.independence
    badge.weigh(stated, f"stated: {stated}", "a statement how this implementation came about (independence)")
    badge.missing.append("a check of that independence: only people can make it")
    return badge


def _claims(badge: Badge, rows: Sequence[Row]) -> None:
    reproduced = sum(row.reproduced for row in rows)
    badge.weigh(
        reproduced,
        f"{reproduced} of {_count(rows, 'claim')} reproduced at source scale",
        "a claim reproduced at source scale",
    )
    reduced = sum(row.status == "reduced" for row in rows)
    absent = sum(row.status == "not run" for row in rows)
    differing = sum(row.agrees is False for row in rows)
    for number, what in (
        (reduced, "rerun at a reduced scale only"),
        (absent, "not run"),
        (differing, "differ"),
    ):
        if number:
            badge.missing.append(f"{number} of {_count(rows, 'claim')} {what}")


def _count(items: Sequence[Any], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"
