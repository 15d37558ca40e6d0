"""Typed inputs, outputs and metrics of a component."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from holdfast.core.errors import UsageError
from holdfast.core.result import Direction

InputType = Literal["string", "integer", "number", "boolean", "path", "paths", "source", "json"]
PATH_TYPES = frozenset({"path", "paths", "source"})
"""Types whose values may name files or folders, whose content then counts."""

_NAMED = {
    "string": "a string",
    "integer": "an integer",
    "number": "a finite number",
    "boolean": "true or false",
    "path": "the path of a file or folder",
    "paths": "a list of paths",
    "source": "a path or a name",
    "json": "a JSON value",
}


class Model(BaseModel):
    """Base of everything read from JSON: unknown keys are refused, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


class Input(Model):
    """One typed input. Without ``default`` it is required; null is a value only where it is ``optional``."""

    type: InputType
    description: str = ""
    default: Any = None
    optional: bool = False
    choices: list[Any] | None = Field(default=None, min_length=1)
    minimum: float | None = None
    maximum: float | None = None
    unit: str | None = None

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return not self.optional and "default" not in self.model_fields_set

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices is not None:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        words = _NAMED[self.type]
        if self.minimum is not None:
            words += f" from {self.minimum:g}" + (
                f" to {self.maximum:g}" if self.maximum is not None else " on"
            )
        elif self.maximum is not None:
            words += f" up to {self.maximum:g}"
        return words + (f" ({self.unit})" if self.unit else "") + (" or null" if self.optional else "")

    def check(self, value: Any, where: str) -> Any:
        """Return ``value`` as the JSON value it stands for; raise UsageError that names ``where``.

        Whether a path exists is not looked at.
        """
        if value is None:
            fits = self.optional
        elif self.type in ("string", "source", "path"):
            value = str(value) if isinstance(value, Path) and self.type != "string" else value
            fits = isinstance(value, str) and (value != "" or self.type == "string")
        elif self.type == "integer":
            fits = isinstance(value, int) and not isinstance(value, bool)
        elif self.type == "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        elif self.type == "boolean":
            fits = isinstance(value, bool)
        elif self.type == "paths":
            fits = isinstance(value, list | tuple) and all(isinstance(item, str | Path) for item in value)
            value = [str(item) for item in value] if fits else value
        else:
            fits = is_json(value)
        if fits and value is not None:
            fits = self._in_range(value)
        if not fits:
            raise UsageError(where, expected=self.expected, got=repr(value))
        return value

    def _in_range(self, value: Any) -> bool:
        if self.choices is not None and value not in self.choices:
            return False
        if self.minimum is not None and value < self.minimum:
            return False
        return self.maximum is None or value <= self.maximum

    @model_validator(mode="after")
    def _consistent(self) -> Input:
        bounded = self.minimum is not None or self.maximum is not None
        if bounded and self.type not in ("integer", "number"):
            raise ValueError(f"minimum and maximum do not apply to type {self.type!r}")
        if "default" in self.model_fields_set:
            try:
                self.check(self.default, "default")
            except UsageError as error:
                raise ValueError(str(error)) from error
        return self


def is_json(value: Any) -> bool:
    """Whether ``value`` consists of what JSON can hold."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_json(item) for item in value)
    return (
        value is None
        or isinstance(value, str | bool | int)
        or (isinstance(value, float) and math.isfinite(value))
    )


def relative_path(path: str) -> str:
    """Return ``path`` if it stays inside the folder it is relative to; raise ValueError otherwise."""
    parts = Path(path).parts
    if not parts or Path(path).is_absolute() or ".." in parts:
        raise ValueError(f"{path!r} must be a relative path without '..'")
    return path


class Output(Model):
    """One declared output: its type, and its path relative to the program's output folder."""

    type: Literal["file", "folder", "records"]
    path: str
    description: str = ""

    _inside = field_validator("path")(relative_path)


class Reading(Model):
    """Where a metric stands in what a program leaves, so that the program need not write records itself.

    Either ``pattern``, a regular expression whose group ``value`` is the number (other named groups become
    labels), or ``json``, the way to it through a JSON document (``"summary.times.0"``; a list of numbers is
    as many measurements). ``from`` is an output, or ``log``: what the program printed. Where one place gives
    several values, each is a record with the label ``repetition``.
    """

    from_: str = Field(default="log", alias="from")
    pattern: str | None = None
    json_: str | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _one_way(self) -> Reading:
        if (self.pattern is None) == (self.json_ is None):
            raise ValueError("give exactly one of 'pattern' and 'json'")
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groupindex
            except re.error as error:
                raise ValueError(f"{self.pattern!r} is not a regular expression: {error}") from error
            if "value" not in groups:
                raise ValueError("expected a group (?P<value>...)")
        return self


class Metric(Model):
    """A metric that a component's records carry: unit, direction, and what it means.

    ``margin`` is the largest difference at which a replay counts as the same: ``"5%"`` of the recorded value,
    or a number in ``unit``. ``read`` says where it stands, if the program writes no records; ``timed`` that
    it comes from a clock.
    """

    unit: str
    direction: Direction
    description: str = ""
    read: Reading | None = None
    timed: bool = False
    margin: Annotated[str, Field(pattern=r"^\d+(\.\d*)?([eE][+-]?\d+)?\s*%?$")] | None = None
