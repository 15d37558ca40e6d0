"""What is known around a paper: its parts, the runs of its workflow, and their replays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from holdfast.core.errors import HoldfastError
from holdfast.hub import run_record, store
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import Paper
from holdfast.hub.lock import FILE as LOCK
from holdfast.hub.replaying import FILE, PREFIX
from holdfast.hub.workflow import Plan, load


@dataclass(frozen=True)
class Replayed:
    """One replay of the paper's workflow: its answer, and whether host or processor were others."""

    id: str
    verdict: str
    host: str
    other_host: bool
    other_platform: bool


@dataclass(frozen=True)
class Context:
    """What evidence is computed from; ``problem`` is why the workflow cannot be loaded, if it cannot.

    ``runs`` are ``run.json`` of the workflow's runs on this machine, or copied here, the oldest first.
    """

    component: Component
    paper: Paper
    plan: Plan | None
    problem: str
    license: str
    runs: list[dict[str, Any]] = field(default_factory=list)
    replays: list[Replayed] = field(default_factory=list)
    locked: bool = False

    @property
    def good(self) -> list[dict[str, Any]]:
        """Runs that ended well."""
        return [run for run in self.runs if run["status"] == "ok"]

    @property
    def parts(self) -> list[Component]:
        """The paper, its workflow, and the programs of its steps, each once."""
        parts = [self.component]
        if self.plan is not None:
            parts += [self.plan.component, *(step.program for step in self.plan.steps)]
        return list({part.id: part for part in parts}.values())


def context_of(component: Component, *, depth: int = 50, project: Path | None = None) -> Context:
    """What is known around a paper, from its ``depth`` newest runs. Raises UsageError for another kind."""
    paper = described(component, Paper)
    plan, problem = None, ""
    try:
        plan = load(component, project=project)
    except HoldfastError as error:
        problem = str(error)
    built_in = component.repository == "built-in"
    runs: list[dict[str, Any]] = []
    replays: list[Replayed] = []
    locked = (component.folder / LOCK).is_file()
    if plan is not None:
        workflow = plan.component
        kept = [each for each in store.runs(component=workflow.id) if each.component == workflow.id][-depth:]
        runs = [run_record.load(each.folder) for each in kept]
        locked = locked or any((each.folder / LOCK).is_file() for each in kept)
        by_id = {run["id"]: run for run in runs}
        for each in store.runs(experiment=PREFIX + workflow.name):
            found = _replayed(each.folder, by_id)
            if found is not None:
                replays.append(found)
    license_ = paper.license or (_own_license() if built_in else "")
    return Context(component, paper, plan, problem, license_, runs, replays, locked)


def _replayed(folder: Path, runs: Mapping[str, dict[str, Any]]) -> Replayed | None:
    import json

    replay = run_record.load(folder)
    original = runs.get(replay["inputs"].get("experiment"))
    if original is None:
        return None
    verdict = json.loads((folder / FILE).read_text(encoding="utf-8"))["verdict"]
    processors = (original["platform"].get("processor"), replay["platform"].get("processor"))
    other_host = original["host"] != replay["host"]
    return Replayed(replay["id"], verdict, replay["host"], other_host, processors[0] != processors[1])


def _own_license() -> str:
    try:
        return str(metadata("holdfast").json.get("license_expression", ""))
    except PackageNotFoundError:
        return ""
