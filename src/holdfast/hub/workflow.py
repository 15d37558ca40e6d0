"""Workflows as plans: steps bound to their programs, wiring checked, in the order in which they can run."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.errors import ComponentError, HoldfastError, UsageError
from holdfast.core.result import Record
from holdfast.hub import values, wiring
from holdfast.hub.component import Component, described
from holdfast.hub.inputs import Input
from holdfast.hub.kinds import Paper, Program, Step, When, Workflow
from holdfast.hub.kinds.matrix import Cell, label
from holdfast.hub.matrix import Grid
from holdfast.hub.repository import find


@dataclass(frozen=True)
class BoundStep:
    """A step, or one cell of it, with the program it runs.

    ``wires`` map every wired input to a literal or a reference; ``needs`` are the steps that come before;
    ``judged`` are those whose metrics its condition may ask for, by the name it has for them. ``step`` is the
    description that it was made from, ``cell`` its place along the axes.
    """

    id: str
    title: str
    program: Component
    wires: dict[str, Any]
    step: Step
    needs: tuple[str, ...]
    cell: Cell = field(default_factory=dict)
    judged: dict[str, list[str]] = field(default_factory=dict)

    def unmet(self, inputs: Mapping[str, Any], records: Mapping[str, Sequence[Record]]) -> str | None:
        """Why the step is skipped, if it is; ``records`` are those measured so far, by bound step."""

        def look(condition: When) -> list[Any]:
            kind, name = condition.subject
            if kind != "metric":
                return [inputs[name] if kind == "input" else self.cell[name]]
            step, _, metric = name.partition(".")
            return [
                record.value
                for each in self.judged[step]
                for record in records.get(each, ())
                if record.metric == metric
                and all(record.labels.get(label) == value for label, value in condition.labels.items())
            ]

        return None if self.step.when is None else self.step.when.unmet(look)


@dataclass(frozen=True)
class Plan:
    """What running a component means: its steps in order, and where its outputs come from (step, output).

    ``exposed`` are the step inputs (``step.input``) that a tuner may set; a user may set any.
    """

    component: Component
    steps: tuple[BoundStep, ...]
    outputs: dict[str, tuple[str, str]]
    exposed: dict[str, Input]

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All input values of a run from those given: checked, completed by defaults. Raises UsageError.

        ``step.input`` sets the input of a step, in all its cells.
        """
        where = self.component.id
        steps = {name: self._step_input(name) for name in given if "." in name}
        coerced = values.coerce({**self.component.inputs, **steps}, given, where)
        own = {name: value for name, value in coerced.items() if name in self.component.inputs}
        complete = values.complete(self.component.inputs, own, where, self.component.folder)
        return {**complete, **{name: value for name, value in coerced.items() if name in steps}}

    def _step_input(self, name: str) -> Input:
        step, _, field = name.partition(".")
        program = next((bound.program for bound in self.steps if bound.step.id == step), None)
        known = {**self.component.inputs, **self.exposed}
        if program is not None and field not in program.inputs:
            known = {f"{step}.{each}": item for each, item in program.inputs.items()}
        if program is None or field not in program.inputs:
            raise values.unknown_input(name, known, self.component.id)
        return program.inputs[field]

    def step_inputs(
        self, step: BoundStep, inputs: Mapping[str, Any], outputs: Mapping[str, Mapping[str, str] | None]
    ) -> dict[str, Any]:
        """Input values of ``step``: wired, overridden where exposed, completed, checked. Raises UsageError.

        ``outputs`` are those of the steps before it, by step and name; None for a skipped step.
        """
        wired = {name: wiring.value_of(wire, inputs, outputs) for name, wire in step.wires.items()}
        for name in inputs:
            place, _, field = name.partition(".")
            if field and place == step.step.id:
                wired[field] = inputs[name]
        where = f"{self.component.id} step {step.id!r}"
        declared = step.program.inputs
        for name, value in wired.items():
            # A name that reaches a source may be a path after all.
            wired[name] = values.absolute(declared[name], value, Path.cwd(), f"{where} input {name!r}")
        complete = values.complete(declared, wired, where, step.program.folder)
        return {
            name: declared[name].check(value, f"{where} input {name!r}") for name, value in complete.items()
        }


def load(component: Component, *, project: Path | None = None, pins: Mapping[str, str] | None = None) -> Plan:
    """The plan of a workflow, of a program, which is a workflow of one step, or of a paper: its workflow's.

    ``pins`` are versions by id that go before the highest one, where they are there. Raises UsageError for a
    paper without workflow, ComponentError for an unknown step, input, output or program, for types that do
    not fit, a missing required input or a cycle.
    """
    if isinstance(component.meta, Program):
        return _single(component)
    if isinstance(component.meta, Paper):
        return load(_workflow_of(component, component.meta, project, pins), project=project, pins=pins)
    workflow = described(component, Workflow)
    where = f"{component.id} ({component.file})"
    twice = {step.id for step in workflow.steps if [s.id for s in workflow.steps].count(step.id) > 1}
    if twice:
        raise ComponentError(where, expected="step ids used once", got=", ".join(sorted(twice)))
    programs = {step.id: _program(step, component, where, project, pins) for step in workflow.steps}
    grid = Grid(workflow, where)
    described_programs = {name: described(found, Program) for name, found in programs.items()}
    scope = wiring.Scope(workflow, described_programs, grid, where)
    for step in workflow.steps:
        scope.check_step(step)
    scope.check_outputs()
    bound = []
    for step in workflow.steps:
        bound += [
            _bound(step, programs[step.id], cell, grid, component.folder) for cell in grid.cells(step.id)
        ]
    outputs = grid.outputs(workflow.outputs)
    return Plan(component, _ordered(bound, where), outputs, scope.check_choices())


def _bound(step: Step, program: Component, cell: Cell, grid: Grid, folder: Path) -> BoundStep:
    wires = _absolute_literals(
        grid.wires(step, cell), program, folder, f"{grid.where} step {step.id + label(cell)!r}"
    )
    simple = step.when.simple() if step.when is not None else ()
    asked = {each.metric.partition(".")[0] for each in simple if each.metric is not None}
    judged = {name: grid.seen(step.id, cell, name) for name in sorted(asked)}
    needs = wiring.upstream(wires).union(*judged.values())
    title = step.title or program.meta.title
    return BoundStep(step.id + label(cell), title, program, wires, step, tuple(sorted(needs)), cell, judged)


def _workflow_of(
    component: Component, paper: Paper, project: Path | None, pins: Mapping[str, str] | None
) -> Component:
    if paper.workflow is None:
        raise UsageError(
            component.id,
            expected="a paper that names its workflow",
            got="none",
            remedy=f"see its claims: holdfast report {component.id} -o paper.html",
        )
    own = None if component.repository in ("user", "built-in") else component.root
    return _pinned(paper.workflow, project or own, pins)


def _single(component: Component) -> Plan:
    program = described(component, Program)
    wires = {name: {"from": f"inputs.{name}"} for name in program.inputs}
    step = Step.model_construct(id=component.name.replace("-", "_"), uses=component.id, with_=wires)
    bound = BoundStep(step.id, component.meta.title, component, wires, step, ())
    outputs = {item.path: (step.id, name) for name, item in program.outputs.items() if item.type != "records"}
    return Plan(component, (bound,), outputs, {})


def _program(
    step: Step, component: Component, where: str, project: Path | None, pins: Mapping[str, str] | None
) -> Component:
    # A workflow that lies outside the known repositories sees its own neighbours first.
    own = None if component.repository in ("user", "built-in") else component.root
    try:
        return _pinned(step.uses, project or own, pins)
    except HoldfastError as error:
        raise ComponentError(f"{where} step {step.id!r}: {error}") from error


def _pinned(spec: str, project: Path | None, pins: Mapping[str, str] | None) -> Component:
    """What ``spec`` means, in the version of ``pins`` if that is there."""
    name = spec.partition("@")[0]
    if pins and name in pins:
        with suppress(HoldfastError):  # what is found instead is told as drift
            return find(f"{name}@=={pins[name]}", project=project)
    return find(spec, project=project)


def _absolute_literals(wires: dict[str, Any], program: Component, folder: Path, where: str) -> dict[str, Any]:
    """``wires`` with the paths among the literals absolute."""
    return {
        name: value
        if wiring.references(value)
        else values.absolute(program.inputs[name], value, folder, f"{where} input {name!r}")
        for name, value in wires.items()
    }


class Queue:
    """Steps that become ready when all they need is done; of those that are ready, first as written."""

    def __init__(self, steps: Sequence[BoundStep]) -> None:
        self._steps = steps
        self._missing = {step.id: len(step.needs) for step in steps}
        self._readers: dict[str, list[int]] = {step.id: [] for step in steps}
        for index, step in enumerate(steps):
            for name in step.needs:
                self._readers[name].append(index)
        self._ready = [index for index, step in enumerate(steps) if not step.needs]  # sorted, and so a heap

    def peek(self) -> BoundStep | None:
        """The next step that is ready, if one is."""
        return self._steps[self._ready[0]] if self._ready else None

    def take(self) -> BoundStep:
        """The same, which is then no longer in the queue."""
        return self._steps[heapq.heappop(self._ready)]

    def done(self, step: str) -> None:
        """What needed ``step`` alone is ready now."""
        for index in self._readers[step]:
            name = self._steps[index].id
            self._missing[name] -= 1
            if not self._missing[name]:
                heapq.heappush(self._ready, index)


def _ordered(steps: list[BoundStep], where: str) -> tuple[BoundStep, ...]:
    """Steps after all they need, otherwise as written."""
    queue, ordered = Queue(steps), list[BoundStep]()
    while queue.peek() is not None:
        ordered.append(queue.take())
        queue.done(ordered[-1].id)
    if len(ordered) < len(steps):
        done = {step.id for step in ordered}
        circle = ", ".join(step.id for step in steps if step.id not in done)
        raise ComponentError(f"{where}: steps wait for each other", got=circle, remedy="break the cycle")
    return tuple(ordered)
