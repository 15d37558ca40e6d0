"""What artifact reviewers ask for, written from components, runs and records: appendix and checklist.

The sections are those of the Artifact Appendix of systems conferences (ctuning.org/ae), the questions those
of the machine learning reproducibility checklist (Pineau et al. 2021) as far as records can answer them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.core.result import Record
from holdfast.hub.paper_context import Context
from holdfast.hub.paper_rows import Row

UNKNOWN = "not known to Holdfast; the authors are to say"


@dataclass(frozen=True)
class Section:
    """A section of the appendix: a heading and its lines, each a statement."""

    heading: str
    lines: list[str]


@dataclass(frozen=True)
class Answer:
    """A question of the checklist, answered from what was recorded."""

    question: str
    answer: Literal["yes", "partly", "no", "unknown"]
    evidence: str


def appendix(context: Context, rows: Sequence[Row]) -> list[Section]:
    """The Artifact Appendix, section by section; what nothing tells is said to be unknown."""
    paper, plan = context.paper, context.plan
    newest = context.good[-1] if context.good else None
    workflow = plan.component if plan else None
    platform = _platform(newest)
    software = _pairs(newest["software"]) if newest else UNKNOWN
    command = paper.example or f"holdfast run {context.component.id}"
    files = _files(newest)
    abstract = f"{paper.title}. {paper.description}".strip()
    meta = {
        "Program": ", ".join(part.id for part in context.parts if part.kind == "program") or "none",
        "Data": f"{len(files)} files by SHA-256" if files else "none recorded, or made by the workflow",
        "Run-time environment": software,
        "Hardware": platform,
        "Execution": f"{command}; every step in a process of its own",
        "Metrics": ", ".join(sorted({row.claim.record.metric for row in rows if row.claim.record})) or "none",
        "Output": "records.jsonl, run.json, paper.html" + _outputs(context),
        "Experiments": f"{len(rows)} claims; {len(context.runs)} runs kept",
        "Time to complete": f"{newest['seconds']:.0f} s in run {newest['id']}{_cached(newest)}"
        if newest
        else UNKNOWN,
        "Publicly available": paper.archive or UNKNOWN,
        "Licence": context.license or UNKNOWN,
        "Workflow framework": "Holdfast",
    }
    steps = [f"{step.id}: {step.title} ({step.program.id})" for step in plan.steps] if plan else [UNKNOWN]
    inputs = workflow.inputs if workflow else {}
    return [
        Section("Abstract", [abstract, *([paper.reference] if paper.reference else [])]),
        Section("Artifact check-list", [f"{name}: {value}" for name, value in meta.items()]),
        Section("Hardware dependencies", [f"Last run well on {platform}."]),
        Section("Software dependencies", [software, "Lock: " + ("yes" if context.locked else "none kept")]),
        Section("Data sets", files or ["None recorded: the workflow makes its data, or was not run."]),
        Section("Installation", ["pip install holdfast, with the extras that `holdfast doctor` names."]),
        Section("Experiment workflow", [f"`{command}`", *steps]),
        Section("Evaluation and expected results", _expected(rows)),
        Section(
            "Experiment customisation",
            [f"--{name.replace('_', '-')}: {item.description or item.type}" for name, item in inputs.items()]
            or [UNKNOWN],
        ),
    ]


def checklist(context: Context, rows: Sequence[Row], records: Sequence[Record]) -> list[Answer]:
    """The reproducibility checklist, from the newest good run's ``records`` and the claims."""
    newest = context.good[-1] if context.good else None
    files, good = _files(newest), [record for record in records if record.status == "ok"]
    measured = [row for row in rows if row.measured is not None]
    return [
        _share("Is every claim measured?", len(measured), len(rows), "claims have a measurement"),
        _share(
            "Are the measurements at the scale of the source?",
            sum(row.reproduced for row in rows),
            len(rows),
            "claims reproduced at source scale",
        ),
        _share(
            "Do results carry error bars?",
            sum(row.interval is not None for row in measured),
            len(measured),
            "measured claims have an interval",
        ),
        _share(
            "Is the number of samples or runs given?",
            sum(record.n is not None for record in good),
            len(good),
            "records say n",
        ),
        _share(
            "Are random seeds given?",
            sum(record.seed is not None for record in good),
            len(good),
            "records name their seed",
        ),
        _known(
            "Are all inputs (hyperparameters) given?", newest, "all values, defaults too, are in run.json"
        ),
        _known("Is the code given by version?", newest, f"{len(context.parts)} components by content hash"),
        Answer(
            "Are all dependencies pinned?",
            "yes" if context.locked else "partly" if newest else "no",
            "a lock is kept" if context.locked else "versions that ran are recorded, no lock is kept",
        ),
        Answer(
            "Are the data identified?",
            "yes" if files else "unknown",
            f"{len(files)} files by SHA-256"
            if files
            else "no data files recorded: made by the workflow, or none",
        ),
        Answer(
            "Are simulated data named as such?",
            "yes" if good else "unknown",
            f"{sum(record.simulated for record in good)} of {len(good)} records are marked simulated",
        ),
        _known("Is the computing infrastructure described?", newest, _platform(newest)),
        _known(
            "Is the state of the machine recorded?",
            newest and newest.get("machine"),
            "before and after the run",
        ),
        _known(
            "Is the time that it takes given?",
            newest,
            f"{newest['seconds']:.0f} s{_cached(newest)}" if newest else "",
        ),
        Answer(
            "Are failures reported?",
            "yes" if records else "unknown",
            f"{len(records) - len(good)} of {len(records)} records and "
            f"{len(context.runs) - len(context.good)} of {len(context.runs)} runs did not end well; all kept",
        ),
        Answer("Is there a licence?", "yes" if context.license else "no", context.license or UNKNOWN),
    ]


def appendix_markdown(sections: Sequence[Section]) -> str:
    """The appendix as Markdown."""
    parts = ["# Artifact Appendix\n"]
    for section in sections:
        parts.append(f"## {section.heading}\n")
        parts.append(
            "\n".join(f"- {line}" if len(section.lines) > 1 else line for line in section.lines) + "\n"
        )
    return "\n".join(parts)


def checklist_markdown(answers: Sequence[Answer]) -> str:
    """The checklist as a Markdown table."""
    rows = [f"| {item.question} | {item.answer} | {item.evidence.replace('|', '/')} |" for item in answers]
    head = ["# Reproducibility checklist\n", "| Question | Answer | Evidence |", "|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _share(question: str, number: int, total: int, what: str) -> Answer:
    answer = "unknown" if not total else "yes" if number == total else "partly" if number else "no"
    return Answer(question, answer, f"{number} of {total} {what}")  # type: ignore[arg-type]


def _known(question: str, known: Any, evidence: str) -> Answer:
    return Answer(question, "yes", evidence) if known else Answer(question, "unknown", "no run is kept here")


def _expected(rows: Sequence[Row]) -> list[str]:
    counts = {
        "reproduced at source scale": sum(row.reproduced for row in rows),
        "rerun at a reduced scale": sum(row.status == "reduced" for row in rows),
        "not run": sum(row.status == "not run" for row in rows),
        "came out differently": sum(row.agrees is False for row in rows),
    }
    return [
        f"Of {len(rows)} claims: " + ", ".join(f"{number} {what}" for what, number in counts.items()) + ".",
        "paper.html shows each claim beside its measurement and the record that it rests on.",
    ]


def _files(run: dict[str, Any] | None) -> list[str]:
    found: dict[str, None] = {}
    made = {digest for step in run["steps"] for digest in step["hashes"].values()} if run else set()
    for step in run["steps"] if run else []:
        for name, value in (step["facets"] or {}).get("files", {}).items():
            for each in [value] if isinstance(value, str) else value:
                file, _, digest = each.rpartition(":")
                if digest not in made:
                    found[f"{file or name}: SHA-256 {digest}"] = None
    return list(found)


def _platform(run: dict[str, Any] | None) -> str:
    if run is None:
        return UNKNOWN
    platform = run["platform"]
    memory = platform.get("memory_bytes", 0) / 2**30
    return f"{platform['processor']}, {platform['cores']} cores, {memory:.0f} GiB, {platform['system']}"


def _cached(run: dict[str, Any]) -> str:
    hits = sum(step["status"] == "hit" for step in run["steps"])
    return f" ({hits} of {len(run['steps'])} steps from the cache)" if hits else ""


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _outputs(context: Context) -> str:
    return "".join(f", {path}" for path in (context.plan.outputs if context.plan else ()))
