"""Wiring: references between workflow inputs, step outputs and step inputs, and the types they must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub.inputs import Input
from holdfast.hub.kinds import Program, Step, TuningChoice, When, Workflow
from holdfast.hub.values import unknown_input

if TYPE_CHECKING:
    from holdfast.hub.matrix import Grid

_ACCEPTS = {
    "string": {"string"},
    "integer": {"integer"},
    "number": {"number", "integer"},
    "boolean": {"boolean"},
    "path": {"path", "output"},
    "paths": {"paths"},
    "source": {"source", "path", "string", "output"},
    "json": {"json", "string", "integer", "number", "boolean"},
}
"""For each type of step input, what may be wired to it; ``output`` is a file or folder made by a step."""


def split(reference: str) -> tuple[str, str]:
    """``"train.model"`` as ``("train", "model")``; the step may be a cell, ``train[lr=0.1]``."""
    place, _, name = reference.rpartition(".")
    return place, name


def reference(value: Any) -> str | None:
    """What ``value`` refers to, if it is ``{"from": "…"}``."""
    if isinstance(value, dict) and set(value) == {"from"} and isinstance(value["from"], str):
        return value["from"]
    return None


def references(value: Any) -> list[str]:
    """All references in a wired value: its own, or those of the list's items."""
    found = [reference(item) for item in (value if isinstance(value, list) else [value])]
    return [item for item in found if item is not None]


def upstream(wires: Mapping[str, Any]) -> set[str]:
    """Ids of the steps whose outputs ``wires`` carry."""
    return {split(ref)[0] for value in wires.values() for ref in references(value)} - {"inputs"}


def value_of(wired: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Mapping[str, str] | None]) -> Any:
    """The value that a wire carries; outputs of a skipped step (None) are null, and left out of lists."""

    def fetch(target: str) -> Any:
        place, name = split(target)
        if place == "inputs":
            return inputs[name]
        made = outputs[place]
        return None if made is None else made[name]

    single = reference(wired)
    if single is not None:
        return fetch(single)
    if not references(wired):
        return wired
    items = [fetch(target) if (target := reference(item)) else item for item in wired]
    return [item for item in items if item is not None]


@dataclass(frozen=True)
class Scope:
    """A workflow and the programs of its steps, against which every wire is checked.

    Each check raises one ComponentError that begins with ``where`` and the place.
    """

    workflow: Workflow
    programs: dict[str, Program]
    grid: Grid
    where: str

    def check_step(self, step: Step) -> None:
        """Every wire of ``step`` fits its input; no required input is missing; the condition can hold."""
        place = f"{self.where} step {step.id!r}"
        declared = self.programs[step.id].inputs
        for name, value in step.with_.items():
            if name not in declared:
                raise ComponentError(str(unknown_input(name, declared, place)))
            self._check_wire(value, declared[name], step, f"{place} input {name!r}")
        missing = [name for name, item in declared.items() if item.required and name not in step.with_]
        if missing:
            raise ComponentError(place, expected=f"a value for {', '.join(missing)}", got="none")
        for condition in step.when.simple() if step.when is not None else ():
            self._check_condition(condition, step, f"{place} condition")

    def check_outputs(self) -> None:
        """Every declared output of the workflow exists."""
        for path, source in self.workflow.outputs.items():
            self._output(source.from_, f"{self.where} output {path!r}")

    def check_choices(self) -> dict[str, Input]:
        """The step inputs that ``choices`` expose, by ``step.input``; workflow inputs need no exposing."""
        exposed = {}
        for name, choice in self.workflow.choices.items():
            place = f"{self.where} choice {name!r}"
            step, _, field = name.rpartition(".")
            if step and step not in self.programs:
                raise ComponentError(
                    place, expected=f"a step, one of {', '.join(self.programs)}", got=repr(step)
                )
            declared = self.programs[step].inputs if step else self.workflow.inputs
            if field not in declared:
                raise ComponentError(str(unknown_input(field, declared, place)))
            for value in _examples(choice):
                self._literal(declared[field], value, place)
            if step:
                exposed[name] = declared[field]
        return exposed

    def _check_condition(self, condition: When, step: Step, place: str) -> None:
        kind, name = condition.subject
        if kind == "metric":
            other = name.partition(".")[0]
            if other not in self.programs or other == step.id:
                known = ", ".join(each for each in self.programs if each != step.id)
                raise ComponentError(place, expected=f"a metric of a step, one of {known}", got=repr(name))
        elif kind == "matrix":
            self._axis(name, step, place)
        else:
            source = self._input(name, place)
            wanted = condition.one_of if condition.one_of is not None else [condition.equals]
            if condition.at_least is not None or condition.at_most is not None:
                if source.type not in ("integer", "number"):
                    raise ComponentError(place, expected="a number", got=f"{name}, of type {source.type}")
            elif not condition.given:
                for value in wanted:
                    self._literal(source, value, place)

    def _axis(self, name: str, step: Step, place: str) -> None:
        if name not in (axes := self.grid.axes(step.id)):
            known = ", ".join(axes) or "none"
            raise ComponentError(place, expected=f"an axis of its matrix, one of {known}", got=repr(name))

    def _check_wire(self, value: Any, target: Input, step: Step, place: str) -> None:
        single = reference(value)
        if single is not None:
            self._check_type(single, target, target.type, target.optional, step, place)
        elif target.type == "paths" and references(value):
            for item in value:
                source = reference(item)
                if source is not None:
                    self._check_type(source, target, "path", True, step, place)
                elif not isinstance(item, str):
                    raise ComponentError(place, expected="paths or references", got=repr(item))
        elif references(value):
            raise ComponentError(place, expected="a single reference", got="a list with references")
        else:
            self._literal(target, value, place)

    def _check_type(
        self, source: str, target: Input, wanted: str, nullable: bool, step: Step, place: str
    ) -> None:
        origin, name = split(source)
        offered: str
        implied = list(step.when.implied()) if step.when is not None else []
        if origin == "matrix":
            self._axis(name, step, place)
            item = target.model_copy(update={"type": wanted, "optional": nullable})
            for cell in self.grid.cells(step.id):
                self._literal(item, cell[name], place)
            return
        if origin == "inputs":
            declared = self._input(name, place)
            given = any(each.given and each.input == name for each in implied)
            offered, maybe_null = declared.type, declared.optional and not given
        else:
            self._output(source, place)
            condition = next(other.when for other in self.workflow.steps if other.id == origin)
            offered, maybe_null = "output", condition is not None and condition not in implied
            if self.grid.gathers(step.id, origin):
                if target.type != "paths":
                    raise ComponentError(
                        place,
                        expected=target.expected,
                        got=f"{source}, once for every cell",
                        remedy="give both steps the same axes, or gather them in an input of type paths",
                    )
                return
        if offered not in _ACCEPTS[wanted]:
            raise ComponentError(place, expected=target.expected, got=f"{source}, {_described(offered)}")
        if maybe_null and not nullable:
            raise ComponentError(
                place,
                expected=target.expected,
                got=f"{source}, which may be null",
                remedy="make the input optional",
            )

    def _input(self, name: str, place: str) -> Input:
        if name not in self.workflow.inputs:
            raise ComponentError(str(unknown_input(name, self.workflow.inputs, place)))
        return self.workflow.inputs[name]

    def _output(self, source: str, place: str) -> None:
        step, name = split(source)
        if step not in self.programs:
            raise ComponentError(place, expected=f"a step, one of {', '.join(self.programs)}", got=repr(step))
        outputs = self.programs[step].outputs
        if name not in outputs:
            raise ComponentError(
                place,
                expected=f"an output of step {step!r}, one of {', '.join(outputs) or 'none'}",
                got=repr(name),
            )

    def _literal(self, declared: Input, value: Any, place: str) -> None:
        try:
            declared.check(value, place)
        except UsageError as error:
            raise ComponentError(str(error)) from error


def _examples(choice: TuningChoice) -> list[Any]:
    """Values of a choice that must be valid: all listed ones, or both ends of the range."""
    if choice.values is not None:
        return choice.values
    ends = [end for end in (choice.low, choice.high) if end is not None]
    return [int(end) for end in ends] if choice.type == "integer" else ends


def _described(offered: str) -> str:
    return "a file or folder" if offered == "output" else f"of type {offered}"
