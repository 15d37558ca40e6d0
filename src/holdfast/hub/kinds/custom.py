"""Kinds that a project adds: their definition, and the components of such a kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from holdfast.hub.kinds.base import Base, Name


class KindDefinition(Base):
    """A kind of a project's own: a JSON Schema of its components' ``fields``, and its actions.

    An action is a program that gets the component's folder as its input ``component``.
    """

    kind: Literal["kind"]
    fields: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})
    actions: dict[Name, Annotated[str, Field(pattern=r"^program:")]] = Field(default_factory=dict)


class Custom(Base):
    """A component of a project's own kind; its kind's JSON Schema says what ``fields`` may hold."""

    kind: Name
    fields: dict[str, Any] = Field(default_factory=dict)
