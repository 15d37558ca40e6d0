"""Input values: from text or JSON to what a component declares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.hub.inputs import PATH_TYPES, Input

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def coerce(declared: Mapping[str, Input], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check what a user gave against the declared inputs; return only what was given, as JSON values.

    Text is parsed for every type but string, path and source (lists of paths are separated by commas; JSON
    is JSON); ``null`` and the empty text mean null where an input is optional. Paths become absolute and
    must exist. Raises UsageError naming the input, what was expected, and the valid names for an unknown one.
    """
    values = {}
    for name, value in given.items():
        if name not in declared:
            raise unknown_input(name, declared, where)
        place = f"{where} input {name!r}"
        values[name] = absolute(declared[name], from_text(declared[name], value, place), Path.cwd(), place)
    return values


def complete(
    declared: Mapping[str, Input], given: Mapping[str, Any], where: str, folder: Path
) -> dict[str, Any]:
    """Add defaults (paths relative to ``folder``) to ``given``. Raises UsageError if a value is missing."""
    values = dict(given)
    missing = [name for name, item in declared.items() if item.required and name not in values]
    if missing:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise UsageError(
            where, expected=f"a value for {', '.join(missing)}", got="none", remedy=f"give {options}"
        )
    for name, item in declared.items():
        if name not in values:
            values[name] = absolute(item, item.default, folder, f"{where} input {name!r}")
    return {name: values[name] for name in declared}


def from_text(declared: Input, value: Any, where: str) -> Any:
    """Parse ``value`` if it is text and the type asks for it, then check it. Raises UsageError."""
    if isinstance(value, str):
        if declared.optional and value in ("", "null"):
            return None
        if declared.type in ("integer", "number", "json"):
            value = _json_or_text(value)
        elif declared.type == "boolean":
            value = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}.get(value.lower(), value)
        elif declared.type == "paths":
            value = [part for part in value.split(",") if part]
        if declared.type == "json" and isinstance(value, str) and not declared.choices:
            raise UsageError(
                where, expected=declared.expected, got=repr(value), remedy="quote JSON for your shell"
            )
    if declared.type == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    return declared.check(value, where)


def _json_or_text(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=lambda name: name)
    except ValueError:
        return text
    return value if not isinstance(value, str) or text.startswith('"') else text


def absolute(declared: Input, value: Any, folder: Path, where: str) -> Any:
    """Make the paths of a value absolute against ``folder``; raise UsageError where one does not exist."""
    if value is None or declared.type not in PATH_TYPES:
        return value
    if declared.type == "paths":
        return [str(_existing(folder, item, where)) for item in value]
    if declared.type == "path":
        return str(_existing(folder, value, where))
    files = source_paths(value, folder)
    return ",".join(str(path) for path in files) if files else value


def source_paths(value: str, folder: Path | None = None) -> list[Path]:
    """The files and folders that a source names, one or several separated by commas; empty for a name."""
    paths = [(folder or Path.cwd()) / Path(part).expanduser() for part in value.split(",") if part]
    return paths if paths and all(path.exists() for path in paths) else []


def read_file(path: Path) -> dict[str, Any]:
    """Input values from a JSON file holding one object. Raises UsageError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(str(path), expected="a JSON object of input values", got=str(error)) from error
    if not isinstance(data, dict):
        raise UsageError(str(path), expected="a JSON object of input values", got=type(data).__name__)
    return data


def unknown_input(name: str, declared: Mapping[str, object], where: str) -> UsageError:
    """The error for an input that is not declared: lists the valid ones, suggests the nearest."""
    close = get_close_matches(name, declared, n=1)
    return UsageError(
        f"{where}: unknown input {name!r}",
        expected="one of " + ", ".join(sorted(declared)) if declared else "no input",
        remedy=f"did you mean {close[0]!r}?" if close else None,
    )


def _existing(folder: Path, value: str, where: str) -> Path:
    path = folder / Path(value).expanduser()
    if not path.exists():
        raise UsageError(where, expected="an existing file or folder", got=value, remedy="check the path")
    return path
