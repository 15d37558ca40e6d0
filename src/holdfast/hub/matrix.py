"""Steps of a matrix: one bound step a cell, wired to the cells of other steps along the axes they share."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from holdfast.core.errors import ComponentError
from holdfast.core.result import Record
from holdfast.hub import wiring
from holdfast.hub.inputs import relative_path
from holdfast.hub.kinds import From, Matrix, Step, Workflow
from holdfast.hub.kinds.matrix import MOST_CELLS, REPETITION, Cell, agree, label
from holdfast.hub.kinds.workflow import RESERVED_OUTPUTS

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def with_cell(record: Record, cell: Cell) -> Record:
    """``record`` labelled with its cell; next to a label that says otherwise, an axis is ``matrix.AXIS``."""
    labels = dict(record.labels)
    for axis, value in cell.items():
        known = value if isinstance(value, str | int | float) else json.dumps(value)
        name = axis if labels.get(axis, known) == known else f"matrix.{axis}"
        labels[name] = known
    return record if labels == record.labels else record.model_copy(update={"labels": labels})


class Grid:
    """The cells of every step of ``workflow``: those of its matrix, times the step's own, times repetitions.

    Raises ComponentError, which begins with ``where``, for an axis that both matrices have, and too many.
    """

    def __init__(self, workflow: Workflow, where: str) -> None:
        self.where = where
        self._cells = {step.id: self._of(workflow, step) for step in workflow.steps}

    def cells(self, step: str) -> list[Cell]:
        """All cells of a step, ``[{}]`` for one without axes."""
        return self._cells[step]

    def axes(self, step: str) -> list[str]:
        """The axes of a step."""
        return list(self._cells[step][0])

    def gathers(self, reader: str, step: str) -> bool:
        """Whether ``reader`` sees several cells of ``step``, which has axes that ``reader`` has not."""
        return not set(self.axes(step)) <= set(self.axes(reader))

    def seen(self, reader: str, cell: Cell, step: str) -> list[str]:
        """Ids of the cells of ``step`` that ``cell`` of ``reader`` is wired to: those that agree with it.

        Raises ComponentError if there is none.
        """
        found = [step + label(other) for other in self._cells[step] if agree(cell, other)]
        if not found:
            raise ComponentError(
                f"{self.where} step {reader + label(cell)!r}",
                expected=f"a cell of step {step!r} with the same values",
                got="none",
                remedy="exclude the same cells in both",
            )
        return found

    def wires(self, step: Step, cell: Cell) -> dict[str, Any]:
        """The wires of one cell of ``step``: axes as literals, references to the cells that it sees."""
        return {name: self._wire(value, step, cell) for name, value in step.with_.items()}

    def outputs(self, outputs: Mapping[str, From]) -> dict[str, tuple[str, str]]:
        """Where a workflow's output files come from: (bound step, output) by path, ``{axis}`` filled in.

        Raises ComponentError for a path that lacks an axis of its step, or that two cells share.
        """
        found: dict[str, tuple[str, str]] = {}
        for path, source in outputs.items():
            step, name = wiring.split(source.from_)
            place = f"{self.where} output {path!r}"
            wanted = "".join(f"{{{axis}}}" for axis in self.axes(step))
            if set(_PLACEHOLDER.findall(path)) != set(self.axes(step)):
                raise ComponentError(place, expected=f"a path with {wanted or 'no {…}'}", got=path)
            for cell in self._cells[step]:
                filled = path
                for axis, value in cell.items():
                    filled = filled.replace(f"{{{axis}}}", str(value).replace("/", "_"))
                if filled in found or filled in RESERVED_OUTPUTS:
                    raise ComponentError(place, expected="a path of its own for each cell", got=filled)
                try:
                    found[relative_path(filled)] = (step + label(cell), name)
                except ValueError as error:
                    raise ComponentError(f"{place}: {error}") from error
        return found

    def _of(self, workflow: Workflow, step: Step) -> list[Cell]:
        place = f"{self.where} step {step.id!r}"
        shared = [{}] if workflow.matrix is None or step.matrix is False else workflow.matrix.cells()
        own = step.matrix.cells() if isinstance(step.matrix, Matrix) else [{}]
        if twice := set(shared[0]) & set(own[0]):
            raise ComponentError(
                place, expected="axes that the workflow has not", got=", ".join(sorted(twice))
            )
        times = [{}] if step.repetitions is None else [{REPETITION: n} for n in range(step.repetitions)]
        if len(shared) * len(own) * len(times) > MOST_CELLS:
            got = len(shared) * len(own) * len(times)
            raise ComponentError(place, expected=f"at most {MOST_CELLS} cells", got=got)
        return [{**a, **b, **c} for a in shared for b in own for c in times]

    def _wire(self, value: Any, step: Step, cell: Cell) -> Any:
        single = wiring.reference(value)
        if single is not None:
            place, name = wiring.split(single)
            if place == "matrix":
                return cell[name]
            found = self._references(single, step, cell)
            return found if place != "inputs" and self.gathers(step.id, place) else found[0]
        if not wiring.references(value):
            return value
        items: list[Any] = []
        for item in value:
            target = wiring.reference(item)
            items += [item] if target is None else self._references(target, step, cell)
        return items

    def _references(self, target: str, step: Step, cell: Cell) -> list[Any]:
        place, name = wiring.split(target)
        if place == "matrix":
            return [cell[name]]
        if place == "inputs":
            return [{"from": target}]
        return [{"from": f"{found}.{name}"} for found in self.seen(step.id, cell, place)]
