"""Matrices: a step, or all steps of a workflow, once for every cell over named axes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from holdfast.hub.inputs import Model, is_json
from holdfast.hub.kinds.base import Identifier

REPETITION = "repetition"
"""The axis that repetitions are numbered along, from 0."""

MOST_CELLS = 100_000
Cell = dict[str, Any]


class Matrix(Model):
    """Every combination of the values of ``axes`` but those that fit an ``exclude``, then each ``include``.

    An ``exclude`` names some axes, an ``include`` all of them. Values are JSON values.
    """

    axes: Annotated[dict[Identifier, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]
    include: list[Cell] = Field(default_factory=list)
    exclude: list[Annotated[Cell, Field(min_length=1)]] = Field(default_factory=list)

    @field_validator("axes")
    @classmethod
    def _values(cls, axes: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if REPETITION in axes:
            raise ValueError(f"'{REPETITION}' is the axis of repetitions; say 'repetitions' or rename yours")
        for name, values in axes.items():
            if not is_json(values):
                raise ValueError(f"{name}: expected JSON values")
            if any(value in values[:index] for index, value in enumerate(values)):
                raise ValueError(f"{name}: a value is given twice")
        return axes

    @model_validator(mode="after")
    def _cells_fit(self) -> Matrix:
        for cell in self.include:
            if set(cell) != set(self.axes) or not is_json(cell):
                raise ValueError(f"include: expected a JSON value for each of {', '.join(self.axes)}")
        for cell in self.exclude:
            if unknown := set(cell) - set(self.axes):
                raise ValueError(f"exclude: {', '.join(sorted(unknown))} is no axis")
        size = len(self.include)
        combinations = 1
        for values in self.axes.values():
            combinations *= len(values)
        if size + combinations > MOST_CELLS:
            raise ValueError(f"expected at most {MOST_CELLS} cells, got {size + combinations}")
        if not self.cells():
            raise ValueError("every cell is excluded")
        return self

    def cells(self) -> list[Cell]:
        """The cells in order, each a value for every axis; none comes twice."""
        every = (dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values()))
        found = [cell for cell in every if not any(agree(cell, out) for out in self.exclude)]
        return found + [cell for cell in self.include if cell not in found]


def agree(cell: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two cells have the same values along the axes they share."""
    return all(cell[axis] == value for axis, value in other.items() if axis in cell)


def label(cell: Mapping[str, Any]) -> str:
    """``[seed=0,model=a]`` for ids and messages; empty for no axes."""
    words = (f"{axis}={value}" for axis, value in cell.items())
    return f"[{','.join(words)}]" if cell else ""
