"""Workflows: steps in a DAG, and the choices they expose to a tuner."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from holdfast.hub.inputs import Model, is_json, relative_path
from holdfast.hub.kinds.base import Base, Identifier

RESERVED_OUTPUTS = ("run.json", "records.jsonl")


class From(Model):
    """A reference ``{"from": "inputs.NAME"}`` or ``{"from": "STEP.OUTPUT"}``."""

    from_: Annotated[str, Field(alias="from", pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]


class When(Model):
    """A step's condition: a workflow input ``equals`` a value, or was ``given`` (is not null)."""

    input: str
    equals: Any = None
    given: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> When:
        if ("equals" in self.model_fields_set) == (self.given is not None):
            raise ValueError("give exactly one of 'equals' and 'given'")
        return self

    def unmet(self, value: Any) -> str | None:
        """Why the step is skipped when the input is ``value``; None if it is not."""
        if self.given:
            return f"{self.input} is not given" if value is None else None
        return None if value == self.equals else f"{self.input} is not {self.equals}"


class Step(Model):
    """One step: the program it uses and the wiring of its inputs, a literal or a reference each."""

    id: Identifier
    uses: Annotated[str, Field(pattern=r"^program:")]
    with_: dict[str, Any] = Field(default={}, alias="with")
    when: When | None = None
    title: str = ""

    @field_validator("id")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == "inputs":
            raise ValueError("'inputs' names the workflow's own inputs; choose another step id")
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
    """Steps in a DAG; ``outputs`` are the files that a run leaves in the user's folder."""

    kind: Literal["workflow"]
    steps: Annotated[list[Step], Field(min_length=1)]
    outputs: dict[str, From] = Field(default_factory=dict)
    choices: dict[str, TuningChoice] = Field(default_factory=dict)

    @field_validator("outputs")
    @classmethod
    def _outputs_inside(cls, outputs: dict[str, From]) -> dict[str, From]:
        for path in outputs:
            if relative_path(path) in RESERVED_OUTPUTS:
                raise ValueError(f"{path} is written by the runner; choose another name")
        return outputs
