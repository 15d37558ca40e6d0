"""Papers: published claims beside the records that rerun them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from holdfast.core.result import Direction, Label
from holdfast.hub.inputs import Model
from holdfast.hub.kinds.base import Base

ClaimStatus = Literal["reproduced at source scale", "reduced", "not run"]
Agreement = Literal["equal", "at most", "at least"]


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


class Figure(Model):
    """A figure: a file or page that the paper's workflow puts out, and the records that it shows."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: str
    source: str = ""
    output: str
    records: list[RecordSelector] = Field(default_factory=list)


class Paper(Base):
    """Published claims beside the records that rerun them; running a paper runs its ``workflow``.

    What only its authors know: the ``license`` (SPDX) of the artifact, the DOI or address of the ``archive``
    that holds it, and ``independence``, how the implementation came about beside that of ``reference``.
    """

    kind: Literal["paper"]
    reference: str = ""
    license: str = ""
    archive: str = ""
    independence: str = ""
    figures: list[Figure] = Field(default_factory=list)
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
