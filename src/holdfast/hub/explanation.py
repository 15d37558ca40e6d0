"""Why a step hits or misses: its facets beside those of the last run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from holdfast.core.errors import ComponentError
from holdfast.core.paths import home
from holdfast.core.result import Record, read_records
from holdfast.hub import key as keys
from holdfast.hub import run_record
from holdfast.hub.cache import Cache
from holdfast.hub.component import Component, described
from holdfast.hub.hashes import FileHashes
from holdfast.hub.kinds import Program
from holdfast.hub.needs import Needs
from holdfast.hub.resolution import Choices
from holdfast.hub.workflow import BoundStep, Plan, load
from holdfast.hub.workflow_file import locate


@dataclass(frozen=True)
class StepExplanation:
    """What a run would do with a step now and why; what the last run of the component did with it and why."""

    step: str
    title: str
    now: Literal["hit", "miss", "skipped"]
    why: list[str]
    last: str | None = None
    last_why: list[str] = field(default_factory=list)
    key: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The explanation as a JSON object."""
        return asdict(self)


def explain(
    component: Component | str,
    inputs: Mapping[str, Any] | None = None,
    *,
    project: Path | None = None,
    software: Choices | None = None,
) -> list[StepExplanation]:
    """For every step of ``component`` on ``inputs``: hit, miss or skipped, and why. Runs and changes nothing.

    ``software`` says which of several installations is meant. Raises what ``run`` raises before its first
    step.
    """
    found = locate(component, project=project) if isinstance(component, str) else component
    plan = load(found, project=project)
    resolved = plan.resolve(inputs or {})
    hashes = FileHashes(home() / "hashes.sqlite")
    try:
        needs = Needs(hashes, software=software, project=project)
        return _Forecast(plan, resolved, Cache(home(), hashes), needs).steps()
    finally:
        hashes.close()


def reasons(
    facets: keys.Facets,
    last: tuple[str, dict[str, Any]] | None,
    *,
    hit: bool,
    forced: bool = False,
    cached: bool = True,
    damaged: bool = False,
) -> list[str]:
    """Why a step with ``facets`` hits or misses, given the id and result of its last run.

    ``forced``: the cache was not asked; ``cached``: the program lets its results be reused; ``damaged``:
    there was an entry that is not trusted.
    """
    if forced:
        return ["forced"]
    changes = keys.differences(last[1]["facets"], facets) if last else []
    if hit:
        return [
            "an earlier run had the same component, code, inputs and software"
            if changes or not last
            else f"nothing changed since run {last[0]}"
        ]
    if not cached:
        return ["never served from the cache: its component says so"]
    if damaged:
        return ["the cached result was damaged"]
    if last is None:
        return ["never run"]
    if changes:
        return changes
    if last[1]["status"] in ("failed", "interrupted"):
        return [f"{last[1]['status']} in the last run"]
    return ["the cached result is gone"]


class _Forecast:
    def __init__(self, plan: Plan, inputs: dict[str, Any], cache: Cache, needs: Needs) -> None:
        self.plan, self.inputs, self.cache, self.needs = plan, inputs, cache, needs
        self.outputs: dict[str, dict[str, str] | None] = {}
        self.made: dict[str, str] = {}
        self.misses: set[str] = set()
        self.records: dict[str, list[Record]] = {}
        self.history = run_record.History(plan.component.id)

    def steps(self) -> list[StepExplanation]:
        return [self._step(step) for step in self.plan.steps]

    def _step(self, step: BoundStep) -> StepExplanation:
        judges = [name for names in step.judged.values() for name in names if name in self.misses]
        if judges:
            self.misses.add(step.id)
            return self._explained(step, "miss", [f"will run or be skipped once step {judges[0]} has run"])
        unmet = step.unmet(self.inputs, self.records)
        if unmet is not None:
            self.outputs[step.id] = None
            return self._explained(step, "skipped", [unmet])
        waiting_for = [name for name in step.needs if name in self.misses]
        if waiting_for:
            self.misses.add(step.id)
            return self._explained(step, "miss", [f"will run because step {waiting_for[0]} will run"])
        inputs = self.plan.step_inputs(step, self.inputs, self.outputs)
        try:
            needs = self.needs.forecast(step.program)
        except ComponentError as error:
            self.misses.add(step.id)
            return self._explained(step, "miss", [str(error)])
        facets = keys.of_step(step, inputs, self.cache.hashes, self.made, needs)
        key, cached = keys.key(facets), described(step.program, Program).cache
        entry = self.cache.read(key) if cached else None
        last = self.history.last_step(step.id)
        damaged = entry is None and self.cache.folder(key).exists()
        why = reasons(facets, last, hit=entry is not None, cached=cached, damaged=damaged)
        if entry is None:
            if not cached and last is not None and not keys.differences(last[1]["facets"], facets):
                # It will run, but on what it ran on before: what follows is explained by what it made then.
                self.outputs[step.id] = last[1]["outputs"]
                self.made.update({path: last[1]["hashes"][name] for name, path in last[1]["outputs"].items()})
                why = [*why, "what follows assumes the result of the last run"]
            else:
                self.misses.add(step.id)
            return self._explained(step, "miss", why, key)
        paths = {name: str(path) for name, path in entry.paths().items()}
        self.outputs[step.id] = paths
        self.records[step.id] = [record for path in entry.records() for record in read_records(path)]
        self.made.update({path: entry.meta["outputs"][name]["hash"] for name, path in paths.items()})
        return self._explained(step, "hit", why, key)

    def _explained(
        self, step: BoundStep, now: Literal["hit", "miss", "skipped"], why: list[str], key: str | None = None
    ) -> StepExplanation:
        run = self.history.last()
        steps = run["steps"] if run else []
        last = next((result for result in steps if result["id"] == step.id), None)
        if last is None:
            return StepExplanation(step.id, step.title, now, why, key=key)
        return StepExplanation(step.id, step.title, now, why, last["status"], last["reasons"], key)
