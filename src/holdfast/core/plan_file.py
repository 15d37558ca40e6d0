"""Files of plans: what was measured to be best on a machine, layer by layer, and for which key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from holdfast.core.errors import DataError
from holdfast.core.paths import write_json

Layer = TypeVar("Layer")
Entry = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]
"""What a plan was measured for, and the fields of each layer's."""


def save(path: Path, schema: str, plans: Iterable[Entry]) -> None:
    """Write ``plans`` as JSON, atomically. Raises StorageError."""
    entries = [{"key": dict(key), "layers": [dict(layer) for layer in layers]} for key, layers in plans]
    write_json(path, {"schema": schema, "plans": entries})


def load(
    path: Path, schema: str, layer: Callable[[dict[str, Any]], Layer]
) -> list[tuple[dict[str, Any], tuple[Layer, ...]]]:
    """Read the plans of a file, each layer made by ``layer``, which refuses by ValueError or TypeError.

    Raises DataError for a file that is not readable, of another schema, or incomplete.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != schema:
            raise ValueError(f"schema {document['schema']!r}")
        return [
            (dict(entry["key"]), tuple(layer(dict(each)) for each in entry["layers"]))
            for entry in document["plans"]
        ]
    except OSError as error:
        raise DataError(f"plan {path}", expected="a readable file", got=str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"plan {path}",
            expected=f"a plan of schema {schema}",
            got=f"{type(error).__name__} {error}"[:200],
            remedy="remove the file; it is made anew at the next call",
        ) from error
