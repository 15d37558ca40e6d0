"""The published JSON Schemas, generated from the models that check the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import holdfast
from holdfast.core.paths import write_json
from holdfast.core.result import Record
from holdfast.hub.component import ADAPTER

FOLDER = Path(holdfast.__file__).parent / "schemas"


def current() -> dict[str, dict[str, Any]]:
    """Schemas by file name, as the models define them now."""
    schemas = {"component.json": ADAPTER.json_schema(), "record.json": Record.model_json_schema()}
    schemas["component.json"]["title"] = "Holdfast component"
    schemas["record.json"]["title"] = "Holdfast record"
    for schema in schemas.values():
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schemas


def write(folder: Path = FOLDER) -> None:
    """Write the current schemas to ``folder``. Raises StorageError."""
    for name, schema in current().items():
        write_json(folder / name, schema)
