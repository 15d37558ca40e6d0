"""Packages: how data, weights and tools get here, and what they provide."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from holdfast.hub.inputs import Model, relative_path
from holdfast.hub.kinds.base import Base, Identifier, Need

Requirement = Annotated[str, Field(pattern=r"^[\w.-]+(\[[\w,-]+\])?==[\w.+!-]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(Model):
    """A file to fetch: its address and mirrors, its hash and size, and where it goes (``to``).

    Without ``sha256`` whoever installs it has to confirm the hash. An archive is unpacked below ``to``: of
    its files those that match a glob of ``only``, and the ``first`` of these in order of their names. Any
    other file goes to the path ``to``.
    """

    url: Annotated[str, Field(min_length=1)]
    mirrors: list[str] = Field(default_factory=list)
    sha256: Sha256 | None = None
    bytes: Annotated[int, Field(ge=0)] | None = None
    unpack: bool = False
    only: list[str] = Field(default_factory=list)
    first: Annotated[int, Field(ge=1)] | None = None
    to: str = ""

    @field_validator("to")
    @classmethod
    def _inside(cls, path: str) -> str:
        return relative_path(path) if path else path


class LocalFile(Model):
    """A file or folder that lies below ``$HOLDFAST_DATA`` or is given by the user, with its hash where known.

    The first of ``names`` that exists is taken; in the package it has the last part of that name.
    """

    names: Annotated[list[str], Field(min_length=1)]
    sha256: Sha256 | None = None

    @field_validator("names")
    @classmethod
    def _inside(cls, names: list[str]) -> list[str]:
        return [relative_path(name) for name in names]


class Generate(Model):
    """A program that makes the content from ``with``, its inputs."""

    uses: Annotated[str, Field(pattern=r"^program:")]
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")


class Package(Base):
    """An install recipe: exactly one of ``sources``, ``files``, ``generate`` and ``pip``.

    Only ``files`` may stand beside ``sources``: what the user has already need not be fetched. ``provides``
    names what others use, as paths in the installed folder.
    """

    kind: Literal["package"]
    sources: list[Source] = Field(default_factory=list)
    files: list[LocalFile] = Field(default_factory=list)
    generate: Generate | None = None
    pip: list[Requirement] = Field(default_factory=list)
    needs: dict[Identifier, Need] = Field(default_factory=dict)
    provides: dict[Identifier, str] = Field(default_factory=dict)
    license: str = ""
    simulated: bool = False

    @field_validator("provides")
    @classmethod
    def _provided_inside(cls, provides: dict[str, str]) -> dict[str, str]:
        for path in provides.values():
            if path != ".":
                relative_path(path)
        return provides

    @model_validator(mode="after")
    def _one_way(self) -> Package:
        ways = (self.sources or self.files, self.generate, self.pip)
        if sum(bool(way) for way in ways) != 1:
            raise ValueError("give exactly one of 'sources', 'files', 'generate' and 'pip'")
        return self
