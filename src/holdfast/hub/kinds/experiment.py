"""Experiments: recorded points that travel with a repository."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from holdfast.hub.inputs import relative_path
from holdfast.hub.kinds.base import Base


class Experiment(Base):
    """Recorded points that travel with a repository: a records file made by ``of``."""

    kind: Literal["experiment"]
    of: Annotated[str, Field(pattern=r"^(workflow|program):")]
    records: str = "records.jsonl"

    _inside = field_validator("records")(relative_path)
