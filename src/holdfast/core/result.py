"""The one result record that everything measured ends in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from holdfast.core import environment, jsonl
from holdfast.core.canonical import content_hash
from holdfast.core.errors import DataError

SCHEMA: Final = "holdfast.record/1"
Direction = Literal["higher", "lower", "none"]
Status = Literal["ok", "failed", "crashed", "timed out", "invalid"]
Label = str | int | float | bool

VOLATILE = ("time", "duration_s", "host")
"""Fields that may differ between a run and its undisturbed repetition on the same machine.

Values measured by a clock (units ``ms``, ``s``, ``1/s``, and ratios of such) differ as well, by nature;
``Record.timed`` marks them.
"""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(_Model):
    """A confidence interval: bounds in the metric's unit, level in (0, 1), and the method that made it."""

    low: float
    high: float
    level: float = 0.95
    method: str

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.low > self.high:
            raise ValueError(f"interval low {self.low} exceeds high {self.high}")
        return self


class ComponentRef(_Model):
    """Version and content hash (SHA-256, hex) of a component that took part."""

    version: str
    hash: str


class Record(_Model):
    """One measured value, with everything needed to trace it.

    ``value`` is None when nothing was measured: absent is not zero. ``labels`` say what was measured (model,
    protection, stressor, layer, batch…); ``components`` map ``kind:name`` to version and hash. ``timed`` is
    true where the value itself comes from a clock. Infinities and NaN are refused.
    """

    schema_: Literal["holdfast.record/1"] = Field(default=SCHEMA, alias="schema")
    metric: Annotated[str, Field(min_length=1)]
    value: float | None
    unit: str
    direction: Direction
    n: int | None = Field(default=None, ge=0)
    interval: Interval | None = None
    timed: bool = False
    labels: dict[str, Label] = {}
    seed: int | None = None
    status: Status = "ok"
    message: str | None = None
    simulated: bool = False
    components: dict[str, ComponentRef] = {}
    software: dict[str, str] = Field(default_factory=environment.software)
    platform: dict[str, str | int] = Field(default_factory=environment.machine)
    host: str = Field(default_factory=environment.host)
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    duration_s: float | None = Field(default=None, ge=0)

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="after")
    def _value_matches_status(self) -> Record:
        if self.status == "ok" and self.value is None and self.interval is not None:
            raise ValueError("an absent value has no interval")
        return self

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object, absent optional fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=False)

    def stable(self) -> dict[str, Any]:
        """The record without its volatile fields, and without the value where a clock made it."""
        data = self.to_json()
        for name in VOLATILE:
            data.pop(name)
        if self.timed:
            data.pop("value")
            data.pop("interval")
        return data

    @property
    def uid(self) -> str:
        """First 16 hex digits of the content hash of the whole record."""
        return content_hash(self.to_json())[:16]

    @classmethod
    def from_json(cls, data: dict[str, Any], source: str = "record") -> Record:
        """Validate a JSON object. Raises DataError that names each wrong field."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise DataError(source, expected=f"a {SCHEMA} object", got=wrong) from error


def read_records(path: Path) -> list[Record]:
    """Read the records of a JSON-lines file. Raises DataError for a line that is not a record."""
    return [
        Record.from_json(line, f"{path}:{number}") for number, line in enumerate(jsonl.read(path), start=1)
    ]


def write_records(path: Path, records: list[Record]) -> None:
    """Write records to a JSON-lines file atomically, replacing it. Raises StorageError."""
    import json

    from holdfast.core.paths import write_text

    lines = (json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    write_text(path, "".join(lines))
