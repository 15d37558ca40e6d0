"""Workflows as plans: steps bound to their programs, wiring checked, in the order in which they can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import ComponentError, HoldfastError, UsageError
from holdfast.hub import values, wiring
from holdfast.hub.component import Component, described
from holdfast.hub.inputs import Input
from holdfast.hub.kinds import Paper, Program, Step, When, Workflow
from holdfast.hub.repository import find


@dataclass(frozen=True)
class BoundStep:
    """A step with the program it runs; ``wires`` map every wired input to a literal or a reference."""

    id: str
    title: str
    program: Component
    wires: dict[str, Any]
    when: When | None
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What running a component means: its steps in order, and where its outputs come from (step, output).

    ``exposed`` are the step inputs (``step.input``) that a user or a tuner may set, with their types.
    """

    component: Component
    steps: tuple[BoundStep, ...]
    outputs: dict[str, tuple[str, str]]
    exposed: dict[str, Input]

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All input values of a run from those given: checked, completed by defaults. Raises UsageError."""
        where = self.component.id
        coerced = values.coerce({**self.component.inputs, **self.exposed}, given, where)
        own = {name: value for name, value in coerced.items() if name in self.component.inputs}
        complete = values.complete(self.component.inputs, own, where, self.component.folder)
        return {**complete, **{name: value for name, value in coerced.items() if name in self.exposed}}

    def step_inputs(
        self, step: BoundStep, inputs: Mapping[str, Any], outputs: Mapping[str, Mapping[str, str] | None]
    ) -> dict[str, Any]:
        """Input values of ``step``: wired, overridden where exposed, completed, checked. Raises UsageError.

        ``outputs`` are those of the steps before it, by step and name; None for a skipped step.
        """
        wired = {name: wiring.value_of(wire, inputs, outputs) for name, wire in step.wires.items()}
        for name in self.exposed:
            if name in inputs and wiring.split(name)[0] == step.id:
                wired[wiring.split(name)[1]] = inputs[name]
        where = f"{self.component.id} step {step.id!r}"
        declared = step.program.inputs
        for name, value in wired.items():
            # A name that reaches a source may be a path after all.
            wired[name] = values.absolute(declared[name], value, Path.cwd(), f"{where} input {name!r}")
        complete = values.complete(declared, wired, where, step.program.folder)
        return {
            name: declared[name].check(value, f"{where} input {name!r}") for name, value in complete.items()
        }


def load(component: Component, *, project: Path | None = None) -> Plan:
    """The plan of a workflow, of a program, which is a workflow of one step, or of a paper: its workflow's.

    Raises UsageError for a paper without workflow, ComponentError for an unknown step, input, output or
    program, for types that do not fit, a missing required input or a cycle.
    """
    if isinstance(component.meta, Program):
        return _single(component)
    if isinstance(component.meta, Paper):
        return load(_workflow_of(component, component.meta, project), project=project)
    workflow = described(component, Workflow)
    where = f"{component.id} ({component.folder / 'component.json'})"
    twice = {step.id for step in workflow.steps if [s.id for s in workflow.steps].count(step.id) > 1}
    if twice:
        raise ComponentError(where, expected="step ids used once", got=", ".join(sorted(twice)))
    programs = {step.id: _program(step, component, where, project) for step in workflow.steps}
    scope = wiring.Scope(
        workflow, {name: described(found, Program) for name, found in programs.items()}, where
    )
    for step in workflow.steps:
        scope.check_step(step)
    scope.check_outputs()
    bound = [
        BoundStep(
            step.id,
            step.title or programs[step.id].meta.title,
            programs[step.id],
            _absolute_literals(step, programs[step.id], component.folder, where),
            step.when,
            tuple(sorted(wiring.upstream(step))),
        )
        for step in workflow.steps
    ]
    outputs = {path: wiring.split(source.from_) for path, source in workflow.outputs.items()}
    return Plan(component, _ordered(bound, where), outputs, scope.check_choices())


def _workflow_of(component: Component, paper: Paper, project: Path | None) -> Component:
    if paper.workflow is None:
        raise UsageError(
            component.id,
            expected="a paper that names its workflow",
            got="none",
            remedy=f"see its claims: holdfast report {component.id} -o paper.html",
        )
    own = None if component.repository in ("user", "built-in") else component.root
    return find(paper.workflow, project=project or own)


def _single(component: Component) -> Plan:
    program = described(component, Program)
    step = component.name.replace("-", "_")
    wires = {name: {"from": f"inputs.{name}"} for name in program.inputs}
    bound = BoundStep(step, component.meta.title, component, wires, None, ())
    outputs = {item.path: (step, name) for name, item in program.outputs.items() if item.type != "records"}
    return Plan(component, (bound,), outputs, {})


def _program(step: Step, component: Component, where: str, project: Path | None) -> Component:
    # A workflow that lies outside the known repositories sees its own neighbours first.
    own = None if component.repository in ("user", "built-in") else component.root
    try:
        return find(step.uses, project=project or own)
    except HoldfastError as error:
        raise ComponentError(f"{where} step {step.id!r}: {error}") from error


def _absolute_literals(step: Step, program: Component, folder: Path, where: str) -> dict[str, Any]:
    wires = {}
    for name, value in step.with_.items():
        if not wiring.references(value):
            value = values.absolute(
                program.inputs[name], value, folder, f"{where} step {step.id!r} input {name!r}"
            )
        wires[name] = value
    return wires


def _ordered(steps: list[BoundStep], where: str) -> tuple[BoundStep, ...]:
    """Steps after all they need, otherwise as written."""
    done: dict[str, BoundStep] = {}
    waiting = list(steps)
    while waiting:
        ready = next((step for step in waiting if all(name in done for name in step.needs)), None)
        if ready is None:
            circle = ", ".join(step.id for step in waiting)
            raise ComponentError(f"{where}: steps wait for each other", got=circle, remedy="break the cycle")
        done[ready.id] = ready
        waiting.remove(ready)
    return tuple(done.values())
