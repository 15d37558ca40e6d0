"""Programs: typed inputs to declared outputs."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from holdfast.hub.inputs import Model, Output
from holdfast.hub.kinds.base import Base, Identifier, Need

PLACEHOLDER = re.compile(r"\{(python|here|out|inputs\.\w+|needs\.\w+(?:\.\w+)?)\}")


class Entry(Model):
    """What to run: a Python function ``module:function`` or ``file.py:function``, or a command line.

    Arguments of a command may hold ``{python}``, ``{here}`` (the component's folder), ``{out}`` and
    ``{inputs.NAME}``; ``{needs.NAME}`` is the binary or folder of a need, ``{needs.NAME.OUTPUT}`` what a
    package provides. A program or script named by a relative path is looked for in the component's folder.
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
    needs: dict[Identifier, Need] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_exist(self) -> Program:
        known = {*self.inputs, *self.outputs, "out", "output"}
        for name in (*self.cli.positional, *self.cli.short.values()):
            if name not in known:
                raise ValueError(f"cli: {name!r} is neither an input nor an output")
        for name, metric in self.metrics.items():
            source = metric.read.from_ if metric.read is not None else "log"
            if source != "log" and source not in self.outputs:
                raise ValueError(f"metrics.{name}.read: {source!r} is neither an output nor 'log'")
        for argument in self.entry.command or []:
            for name in re.findall(r"\{([A-Za-z_][\w.]*)\}", argument):
                place, _, field = name.partition(".")
                known_field = (place == "inputs" and field in self.inputs) or (
                    place == "needs" and field.partition(".")[0] in self.needs
                )
                if name not in ("python", "here", "out") and not known_field:
                    raise ValueError(f"entry.command: unknown placeholder {{{name}}}")
        return self
