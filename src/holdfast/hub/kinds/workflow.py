"""Workflows: steps in a DAG, and the choices they expose to a tuner."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from holdfast.hub.inputs import Model, is_json, relative_path
from holdfast.hub.kinds.base import Base, Identifier
from holdfast.hub.kinds.condition import When
from holdfast.hub.kinds.matrix import MOST_CELLS, Matrix

RESERVED_OUTPUTS = ("run.json", "records.jsonl")


class From(Model):
    """A reference ``{"from": "inputs.NAME"}``, ``{"from": "matrix.AXIS"}`` or ``{"from": "STEP.OUTPUT"}``."""

    from_: Annotated[str, Field(alias="from", pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]


class Resources(Model):
    """What a step may use: ``cores`` it is pinned to, and ``memory_mb`` (10⁶ bytes) of all its processes.

    Steps that run at the same time share the machine's cores and memory by these numbers. A process that
    asks for more private memory than the limit is refused it; processes that together hold more are ended.
    """

    cores: Annotated[int, Field(ge=1)] = 1
    memory_mb: Annotated[float, Field(gt=0)] | None = None


class Step(Model):
    """One step: the program it uses and the wiring of its inputs, a literal or a reference each.

    With a ``matrix`` it is run for every cell (times those of the workflow's matrix, unless it is ``false``),
    and each cell ``repetitions`` times. ``timeout_s`` replaces the program's own; ``retries`` is how often
    the step is tried again after an infrastructure error, never after a failure or a crash of its own.
    """

    id: Identifier
    uses: Annotated[str, Field(pattern=r"^program:")]
    with_: dict[str, Any] = Field(default={}, alias="with")
    when: When | None = None
    title: str = ""
    matrix: Matrix | Literal[False] | None = None
    repetitions: Annotated[int, Field(ge=1, le=MOST_CELLS)] | None = None
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    resources: Resources | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = 0

    @field_validator("id")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in ("inputs", "matrix"):
            meant = {"inputs": "the workflow's own inputs", "matrix": "the axes of a matrix"}[name]
            raise ValueError(f"{name!r} names {meant}; choose another step id")
        return name


class TuningChoice(Model):
    """What a tuner may choose: a list of ``values``, or a range from ``low`` to ``high``."""

    type: Literal["categorical", "integer", "number"]
    values: Annotated[list[Any], Field(min_length=1)] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False

    @model_validator(mode="after")
    def _values_or_range(self) -> TuningChoice:
        has_range = self.low is not None and self.high is not None
        if (self.values is None) == (not has_range) or (self.values is None) != (self.type != "categorical"):
            raise ValueError("a categorical choice has 'values', any other has 'low' and 'high'")
        if self.low is not None and self.high is not None:
            if self.low > self.high or (self.log and self.low <= 0):
                raise ValueError("expected low <= high, and low > 0 on a logarithmic scale")
            if self.type == "integer" and not (self.low.is_integer() and self.high.is_integer()):
                raise ValueError("an integer choice needs whole bounds")
        if not is_json(self.values):
            raise ValueError("values must be JSON values")
        return self


class Workflow(Base):
    """Steps in a DAG; ``outputs`` are the files that a run leaves in the user's folder.

    A ``matrix`` runs the whole workflow for every cell; steps that say ``"matrix": false`` run once.
    """

    kind: Literal["workflow"]
    steps: Annotated[list[Step], Field(min_length=1)]
    outputs: dict[str, From] = Field(default_factory=dict)
    choices: dict[str, TuningChoice] = Field(default_factory=dict)
    matrix: Matrix | None = None

    @field_validator("outputs")
    @classmethod
    def _outputs_inside(cls, outputs: dict[str, From]) -> dict[str, From]:
        for path in outputs:
            if relative_path(path) in RESERVED_OUTPUTS:
                raise ValueError(f"{path} is written by the runner; choose another name")
        return outputs
