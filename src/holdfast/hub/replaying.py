"""Replay: an experiment run again on this machine, without the cache, and compared metric by metric."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

from holdfast.core.errors import ComponentError, InfrastructureError, StepError, UsageError
from holdfast.core.result import Label, Record, read_records
from holdfast.hub import key as keys
from holdfast.hub import render, run_record
from holdfast.hub.component import Component
from holdfast.hub.equivalence import Compared, Margin, Verdict, compare, overall
from holdfast.hub.lock import FILE as LOCK
from holdfast.hub.machine_state import State
from holdfast.hub.repository import find
from holdfast.hub.run_record import Run
from holdfast.hub.runner import OnEvent, run
from holdfast.hub.workflow import load

PREFIX: Final = "replay-"
FILE, PAGE = "replay.json", "replay.html"
_SAME_PLATFORM = ("machine", "processor", "cores")


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was when the experiment was recorded, in words."""

    area: Literal["component", "step", "software", "platform", "state"]
    text: str


@dataclass(frozen=True)
class OutputCompared:
    """Whether a file that a step made is the recorded one; it may hold times, so this only informs."""

    step: str
    output: str
    identical: bool


@dataclass(frozen=True)
class Replay:
    """The answer: ``verdict`` over all ``rows``, what differs, and the experiment that keeps it.

    ``rerun`` is the run that was made; None where it failed, as ``error`` says.
    """

    experiment: str
    component: str
    rerun: str | None
    verdict: Verdict
    rows: list[Compared]
    differences: list[Difference]
    outputs: list[OutputCompared]
    error: str | None = None
    folder: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The replay as a JSON object."""
        return {**asdict(self), "schema": "holdfast.replay/1", "folder": str(self.folder)}


def replay(
    experiment: str | Path,
    *,
    margins: Mapping[str, str | float] | None = None,
    inputs: Mapping[str, Any] | None = None,
    across_platforms: bool = False,
    lock: Path | None = None,
    on_event: OnEvent | None = None,
    project: Path | None = None,
) -> Replay:
    """Run a kept experiment again with its own component version and inputs, every step anew, and compare.

    ``experiment`` is what ``run_record.locate`` takes. ``margins`` by metric come before those that the
    components declare, and these before the defaults of ``equivalence.compare``. ``inputs`` replace recorded
    ones, such as a path that is another here, and are told as differences. Timed metrics are compared on
    another platform only if ``across_platforms``. The answer is kept as an experiment ``replay-<name>`` that
    names the replayed one; a step that fails is an answer too: not reproduced. With a ``lock``, or one in the
    experiment's folder, nothing runs unless everything is as it says.

    Raises UsageError for an experiment that did not end well, for unknown metrics, inputs or missing files,
    and what ``run`` raises but StepError.
    """
    folder = run_record.locate(experiment)
    old = run_record.load(folder)
    if old["status"] != "ok":
        raise UsageError(f"replay of {old['id']}", expected="a run that ended well", got=old["status"])
    recorded = read_records(folder / "records.jsonl")
    component = _component(old, project)
    wanted = _margins(component, recorded, margins or {}, project)
    platform = _platform_change(old)
    if lock is None and (folder / LOCK).is_file():
        lock = folder / LOCK
    start, error = perf_counter(), None
    rerun: Run | None = None
    try:
        given = {**_as_given(component, old["inputs"]), **(inputs or {})}
        rerun = run(component, given, force=True, on_event=on_event, project=project, lock=lock)
    except InfrastructureError:
        raise  # the machine failed, which says nothing about the experiment
    except StepError as failure:
        error = str(failure)
    rows = (
        []
        if rerun is None
        else compare(recorded, rerun.records, wanted, None if across_platforms else platform)
    )
    answer = Replay(
        old["id"],
        old["component"],
        rerun.id if rerun else None,
        overall(rows) if rerun else "not reproduced",
        rows,
        [] if rerun is None else differences(old, rerun.to_json()),
        [] if rerun is None else _outputs(old, rerun),
        error,
    )
    return _keep(
        answer, component, {name: str(each) for name, each in wanted.items()}, perf_counter() - start
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """What differs between two runs, as ``run.json`` holds them, that may explain differing results."""
    found = []
    if old["hash"] != new["hash"]:
        versions = f"{old['version']} -> {new['version']}" if old["version"] != new["version"] else "changed"
        found.append(Difference("component", f"{new['component']}: {versions}"))
    found += [Difference("component", f"input {text}") for text in _changes(old["inputs"], new["inputs"])]
    software = _changes(old["software"], new["software"])
    found += [Difference("software", text) for text in software]
    before = {step["id"]: step for step in old["steps"]}
    for step in new["steps"]:
        was = before.get(step["id"])
        if was is None or was["facets"] is None or step["facets"] is None:
            if was is None or was["status"] != step["status"]:
                got = "not there" if was is None else was["status"]
                found.append(Difference("step", f"{step['id']}: {got} -> {step['status']}"))
            continue
        phrases = keys.differences(was["facets"], step["facets"])
        found += [Difference("step", f"{step['id']}: {text}") for text in phrases if text not in software]
    found += [Difference("platform", text) for text in _changes(old["platform"], new["platform"])]
    found += [Difference("platform", text) for text in _changes({"host": old["host"]}, {"host": new["host"]})]
    cores = {"recorded": old["platform"].get("cores"), "rerun": new["platform"].get("cores")}
    for name, data in (("recorded", old), ("rerun", new)):
        found += [Difference("state", f"{name}: {text}") for text in _busy(data, cores[name])]
    return found


def _component(old: Mapping[str, Any], project: Path | None) -> Component:
    """The component in its recorded version; in another, which is told, only where that one is gone."""
    try:
        return find(f"{old['component']}@{old['version']}", project=project)
    except ComponentError:
        return find(old["component"], project=project)


def _as_given(component: Component, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded values as ``run`` takes them: text would be parsed as JSON where that is the type."""
    kinds = {name: declared.type for name, declared in component.inputs.items()}
    return {
        name: json.dumps(value) if kinds.get(name) == "json" and isinstance(value, str) else value
        for name, value in inputs.items()
    }


def _margins(
    component: Component,
    recorded: list[Record],
    given: Mapping[str, str | float],
    project: Path | None,
) -> dict[str, Margin]:
    metrics = {record.metric for record in recorded}
    unknown = sorted(set(given) - metrics)
    if unknown:
        raise UsageError("margin", expected=f"one of {', '.join(sorted(metrics))}", got=", ".join(unknown))
    parts = [step.program for step in load(component, project=project).steps] + [component]
    declared = {
        name: Margin.parse(metric.margin, "declared")
        for part in parts
        for name, metric in part.meta.metrics.items()
        if metric.margin is not None and name in metrics
    }
    return declared | {name: Margin.parse(margin) for name, margin in given.items()}


def _platform_change(old: Mapping[str, Any]) -> str | None:
    from holdfast.core import environment

    here = environment.machine()
    changed = {name for name in _SAME_PLATFORM if old["platform"].get(name) != here.get(name)}
    pairs = [
        (f"{old['platform'].get(name)}", f"{here.get(name)}") for name in _SAME_PLATFORM if name in changed
    ]
    return ", ".join(f"{was} -> {now}" for was, now in pairs) or None


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name} {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _busy(data: Mapping[str, Any], cores: Any) -> list[str]:
    """What in the machine's state speaks against its timings."""
    found = []
    state: dict[str, State] = data.get("machine", {})
    loads = [float(each["load_1m"]) for each in state.values() if "load_1m" in each]
    if loads and isinstance(cores, int) and max(loads) > cores:
        found.append(f"load {max(loads):g} on {cores} cores")
    heat = [int(each["throttled"]) for each in state.values() if "throttled" in each]
    if len(heat) == 2 and heat[1] > heat[0]:
        found.append(f"slowed by heat {heat[1] - heat[0]} times")
    return found


def _outputs(old: Mapping[str, Any], rerun: Run) -> list[OutputCompared]:
    before = {step["id"]: step["hashes"] for step in old["steps"]}
    return [
        OutputCompared(step.id, name, before[step.id][name] == digest)
        for step in rerun.steps
        for name, digest in step.hashes.items()
        if name in before.get(step.id, {})
    ]


def _keep(answer: Replay, component: Component, margins: dict[str, str], seconds: float) -> Replay:
    name = f"workflow:{PREFIX}{component.name}"
    kept = Run(
        run_record.new_id(name),
        name,
        component.meta.version,
        component.hash,
        {"experiment": answer.experiment, "rerun": answer.rerun, "margins": margins},
        datetime.now(UTC).isoformat(timespec="seconds"),
        "ok" if answer.error is None else "failed",
        answer.error,
        seconds,
    )
    values = {"reproduced": 1.0, "not reproduced": 0.0, "not comparable": None}
    for row in answer.rows:
        labels: dict[str, Label] = {**row.labels, "of": row.metric, "verdict": row.verdict}
        kept.records.append(
            Record(
                metric="reproduced",
                value=values[row.verdict],
                unit="1",
                direction="higher",
                labels=labels,
                message=row.reason,
                simulated=row.simulated,
                components={component.id: component.ref},
            )
        )
    page = render.render("replay.html.j2", title=f"Replay of {component.name}", replay=answer, run=kept)
    text = json.dumps(answer.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder = run_record.save(kept, {FILE: text, PAGE: page})
    return Replay(**{**answer.__dict__, "folder": folder})
