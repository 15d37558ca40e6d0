"""What a ``component.json`` may say, kind by kind."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator, model_validator

from holdfast.core.result import Direction, Label
from holdfast.hub.inputs import Input, Metric, Model, Output, is_json, relative_path

NAME = r"^[a-z0-9][a-z0-9-]*$"
IDENTIFIER = r"^[a-z][a-z0-9_]*$"
PLACEHOLDER = re.compile(r"\{(python|here|out|inputs\.\w+)\}")
RESERVED_OUTPUTS = ("run.json", "records.jsonl")

Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
ClaimStatus = Literal["reproduced at source scale", "reduced", "not run"]
Agreement = Literal["equal", "at most", "at least"]


class Base(Model):
    """What every component says of itself; ``example`` is a command line that uses it."""

    schema_: Literal["holdfast.component/1"] = Field(alias="schema")
    name: Annotated[str, Field(pattern=NAME)]
    uid: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+([-+.a-z0-9]+)?$")]
    title: Annotated[str, Field(min_length=1)]
    description: str = ""
    tags: list[Annotated[str, Field(pattern=NAME)]] = Field(default_factory=list)
    inputs: dict[Identifier, Input] = Field(default_factory=dict)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    example: str = ""

    @field_validator("version")
    @classmethod
    def _parsable(cls, version: str) -> str:
        try:
            Version(version)
        except InvalidVersion as error:
            raise ValueError(f"{version!r} is not a version such as 1.2.0") from error
        return version

    @field_validator("inputs")
    @classmethod
    def _out_is_the_runners(cls, inputs: dict[str, Input]) -> dict[str, Input]:
        if "out" in inputs:
            raise ValueError("'out' is the output folder that every program is given; rename the input")
        return inputs


class Entry(Model):
    """What to run: a Python function ``module:function`` or ``file.py:function``, or a command line.

    Arguments of a command may hold ``{python}``, ``{here}`` (the component's folder), ``{out}`` and
    ``{inputs.NAME}``. A program or script named by a relative path is looked for in the component's folder.
    """

    python: Annotated[str, Field(pattern=r"^[\w./-]+:\w+$")] | None = None
    command: Annotated[list[str], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Entry:
        if (self.python is None) == (self.command is None):
            raise ValueError("give exactly one of 'python' and 'command'")
        return self


class ProgramCli(Model):
    """How a command line names the inputs: those given by position, and one-letter options."""

    positional: list[str] = Field(default_factory=list)
    short: dict[Annotated[str, Field(pattern=r"^[a-zA-Z]$")], str] = Field(default_factory=dict)


class Program(Base):
    """A program: typed inputs to declared outputs."""

    kind: Literal["program"]
    outputs: dict[Identifier, Output] = Field(default_factory=dict)
    entry: Entry
    resumable: bool = False
    cache: bool = True
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    cli: ProgramCli = ProgramCli()

    @model_validator(mode="after")
    def _names_exist(self) -> Program:
        known = {*self.inputs, *self.outputs, "out", "output"}
        for name in (*self.cli.positional, *self.cli.short.values()):
            if name not in known:
                raise ValueError(f"cli: {name!r} is neither an input nor an output")
        for argument in self.entry.command or []:
            for name in re.findall(r"\{([^{}]*)\}", argument):
                field = name.removeprefix("inputs.")
                if name not in ("python", "here", "out") and (field == name or field not in self.inputs):
                    raise ValueError(f"entry.command: unknown placeholder {{{name}}}")
        return self


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


class RecordSelector(Model):
    """Which records belong to a claim: the metric, and labels that must agree."""

    metric: Annotated[str, Field(min_length=1)]
    labels: dict[str, Label] = Field(default_factory=dict)


class Claim(Model):
    """One published number, where it stands in the source, and how far it was rerun.

    ``status`` is the most that a rerun can show: a record whose labels fall short of ``scale`` (numbers: at
    least that many; anything else: the same) makes it "reduced". ``agreement`` says how the measured value is
    to stand to the claimed one; without it the two are only shown beside each other.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    text: str
    source: str
    value: float
    unit: str
    direction: Direction = "none"
    workflow: Annotated[str, Field(pattern=r"^(workflow|program):")] | None = None
    record: RecordSelector | None = None
    status: ClaimStatus
    reduced_how: str | None = None
    agreement: Agreement | None = None
    scale: dict[str, Label] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _status_is_backed(self) -> Claim:
        if (self.status == "reduced") != (self.reduced_how is not None):
            raise ValueError("'reduced_how' belongs to status 'reduced', and to it only")
        if self.status != "not run" and self.record is None:
            raise ValueError(f"status {self.status!r} needs 'record', the measurement it rests on")
        return self


class Paper(Base):
    """Published claims beside the records that rerun them; running a paper runs its ``workflow``."""

    kind: Literal["paper"]
    reference: str = ""
    workflow: Annotated[str, Field(pattern=r"^workflow:")] | None = None
    claims: Annotated[list[Claim], Field(min_length=1)]

    @field_validator("claims")
    @classmethod
    def _unique(cls, claims: list[Claim]) -> list[Claim]:
        ids = [claim.id for claim in claims]
        twice = sorted({claim for claim in ids if ids.count(claim) > 1})
        if twice:
            raise ValueError(f"claim ids used twice: {', '.join(twice)}")
        return claims


class Experiment(Base):
    """Recorded points that travel with a repository: a records file made by ``of``."""

    kind: Literal["experiment"]
    of: Annotated[str, Field(pattern=r"^(workflow|program):")]
    records: str = "records.jsonl"

    _inside = field_validator("records")(relative_path)


AnyComponent = Annotated[Program | Workflow | Paper | Experiment, Field(discriminator="kind")]
KINDS = ("program", "workflow", "paper", "experiment")
