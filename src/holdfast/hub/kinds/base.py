"""What every component says of itself, and what it may need and check."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator, model_validator

from holdfast.hub.inputs import Input, Metric, Model

NAME = r"^[a-z0-9][a-z0-9-]*$"
IDENTIFIER = r"^[a-z][a-z0-9_]*$"

Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
Name = Annotated[str, Field(pattern=NAME)]


class Need(Model):
    """Software or a package that a component needs: by name (``uses``) or by all of ``tags``.

    ``versions`` is a range such as ``>=9,<14``; without an ``optional`` need the component still runs.
    """

    uses: Annotated[str, Field(pattern=r"^(soft|package):[a-z0-9][a-z0-9-]*$")] | None = None
    tags: list[Name] = Field(default_factory=list)
    versions: str = ""
    optional: bool = False

    @model_validator(mode="after")
    def _by_name_or_by_tags(self) -> Need:
        if (self.uses is None) == (not self.tags):
            raise ValueError("give exactly one of 'uses' and 'tags'")
        try:
            SpecifierSet(self.versions)
        except InvalidSpecifier as error:
            raise ValueError(f"{self.versions!r} is not a range such as >=1.2,<2") from error
        return self


class Expected(Model):
    """What a metric or an output must be: ``value`` within ``tolerance``, bounds, text or a content hash."""

    value: float | None = None
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    minimum: float | None = None
    maximum: float | None = None
    contains: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Check(Model):
    """One of a component's own checks: run it on ``inputs``, and compare what comes out.

    ``exit_code`` is that of ``holdfast run`` (5 for a step that fails).
    """

    inputs: dict[str, Any] = Field(default_factory=dict)
    exit_code: int = 0
    outputs: dict[str, Expected] = Field(default_factory=dict)
    metrics: dict[str, Expected] = Field(default_factory=dict)


class Base(Model):
    """What every component says of itself; ``example`` is a command line that uses it.

    ``yanked`` is why this version must not be chosen any more, unless it is named exactly or locked.
    """

    schema_: Literal["holdfast.component/1"] = Field(alias="schema")
    kind: str
    name: Name
    uid: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+([-+.a-z0-9]+)?$")]
    title: Annotated[str, Field(min_length=1)]
    description: str = ""
    tags: list[Name] = Field(default_factory=list)
    inputs: dict[Identifier, Input] = Field(default_factory=dict)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    example: str = ""
    yanked: str = ""
    checks: dict[Identifier, Check] = Field(default_factory=dict)

    @field_validator("version")
    @classmethod
    def _parsable(cls, version: str) -> str:
        try:
            Version(version)
        except InvalidVersion as error:
            raise ValueError(f"{version!r} is not a version such as 1.2.0") from error
        return version

    @field_validator("title", "description", "yanked", "example")
    @classmethod
    def _printable(cls, text: str) -> str:
        # What a stranger's component says is shown before it is trusted; it must not steer the terminal.
        if not text.replace("\n", " ").replace("\t", " ").isprintable():
            raise ValueError("expected printable characters")
        return text

    @field_validator("inputs")
    @classmethod
    def _out_is_the_runners(cls, inputs: dict[str, Input]) -> dict[str, Input]:
        if "out" in inputs:
            raise ValueError("'out' is the output folder that every program is given; rename the input")
        return inputs
