"""Detection plugins: where software is looked for, and how its version is read."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from holdfast.hub.inputs import Model
from holdfast.hub.kinds.base import Base


class Detection(Model):
    """Where software is looked for, and how its version is read.

    ``binaries``: names or globs on PATH and in ``paths``; ``paths``: folders, globs, ``$VARIABLES``;
    ``files``: globs in those; ``python``: distributions, any of which counts. ``command`` prints the version
    (``{binary}``), which ``pattern`` finds: its groups ``version``, ``version_minor``… are joined by dots, a
    group ``path`` says which file it really is. ``environment`` is set for whoever uses it (``{binary}``,
    ``{folder}``, ``{version}``). ``hook`` is a function ``file.py:function`` for the rest.
    """

    binaries: list[str] = Field(default_factory=list)
    paths: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
    python: list[str] = Field(default_factory=list)
    command: list[str] = Field(default_factory=list)
    pattern: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    hook: Annotated[str, Field(pattern=r"^[\w./-]+\.py:\w+$")] | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 10.0

    @field_validator("pattern")
    @classmethod
    def _finds_a_version(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groupindex
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
            if "version" not in groups:
                raise ValueError("expected a group (?P<version>...)")
        return pattern

    @model_validator(mode="after")
    def _looks_somewhere(self) -> Detection:
        if not (self.binaries or self.files or self.python or self.hook):
            raise ValueError("give 'binaries', 'files', 'python' or 'hook'")
        return self


class Soft(Base):
    """A detection plugin for software that is installed already."""

    kind: Literal["soft"]
    detect: Detection
