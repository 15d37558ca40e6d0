"""Entries of CK repositories: ``<module>/<name>/.cm/meta.json``, aliases in ``<module>/.cm/``."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holdfast.core.errors import ComponentError

MOST_BYTES: Final = 4 << 20
_UID = re.compile(r"[0-9a-f]{16}")
_REDIRECTION = re.compile(r"\s*>\s*\$#filename#\$(\s*2>&1)?\s*$")
_VERSION = r"(?P<version>\d+(?:\.\d+)+)"


@dataclass
class Entry:
    """An entry as its own system describes it; ``detect`` if it says declaratively how to find software."""

    uid: str
    title: str
    tags: list[Any]
    meta: dict[str, Any]
    description: str = ""
    version: str = ""
    detect: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)


def read(file: Path, folder: Path) -> Entry:
    """Read the entry in ``folder``. Raises ComponentError for what is no JSON object or has no UID."""
    meta = read_json(file)
    wrong: list[str] = []
    uid = _uid(folder, wrong)
    tags = meta.get("tags", [])
    if not isinstance(tags, list):
        wrong.append(f"{file}: tags: expected a list, got {type(tags).__name__}")
        tags = str(tags).split(",")
    info = {}
    with suppress(ComponentError):
        info = read_json(file.with_name("info.json"))
    title = meta.get("soft_name") or meta.get("desc") or info.get("data_name") or folder.name
    detect = _detection(meta, wrong, file) if folder.parent.name == "soft" else None
    description = str(meta.get("desc", "")) if title != meta.get("desc") else ""
    return Entry(uid, str(title), tags, meta, description, detect=detect, problems=wrong)


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises ComponentError."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ComponentError(str(file), expected="JSON", got=str(error)) from error
    if not isinstance(data, dict):
        raise ComponentError(str(file), expected="a JSON object", got=type(data).__name__)
    return data


def _uid(folder: Path, wrong: list[str]) -> str:
    name = folder.name
    if _UID.fullmatch(name):
        return name
    alias = folder.parent / ".cm" / f"alias-a-{name}"
    try:
        uid = alias.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ComponentError(str(alias), expected="the UID of this entry", got="no readable file") from error
    if not _UID.fullmatch(uid):
        raise ComponentError(str(alias), expected="16 hex digits", got=repr(uid[:40]))
    back = alias.with_name(f"alias-u-{uid}")
    try:
        named = back.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        named = None
    if named != name:
        wrong.append(f"{back}: expected the name {name}, got {named or 'no file'}")
    return uid


def _detection(meta: dict[str, Any], wrong: list[str], file: Path) -> dict[str, Any] | None:
    """A ``Detection`` from what is declared; None where a script would have to be run."""
    customize = _object(meta, "customize", wrong, file)
    version = _object(meta, "version", wrong, file)
    tool = customize.get("soft_file_universal") or _linux(customize.get("soft_file")) or meta.get("tool")
    command = _linux(customize.get("soft_version_cmd")) or version.get("cmd")
    if not isinstance(tool, str) or not isinstance(command, str):
        return None
    tool = tool.replace("$#file_ext_dll#$", "so").replace("$#file_ext_exe#$", "")
    arguments = _REDIRECTION.sub("", command)
    if "$#" in tool + arguments or re.search(r"[|;&<>`$()]", arguments) or "/" in tool:
        return None
    try:
        words = shlex.split(arguments)
    except ValueError:
        return None
    before = version.get("string_before")
    detect: dict[str, Any] = {
        "binaries": [tool],
        "command": ["{binary}", *words],
        "pattern": (re.escape(before) if isinstance(before, str) else "") + _VERSION,
    }
    environment = meta.get("env")
    if isinstance(environment, dict):
        plain = {
            name: value
            for name, value in environment.items()
            if isinstance(value, str) and value and not re.search(r"[{}]|\$#", value)
        }
        detect["environment"] = plain
    return detect


def _object(meta: dict[str, Any], name: str, wrong: list[str], file: Path) -> dict[str, Any]:
    found = meta.get(name, {})
    if isinstance(found, dict):
        return found
    wrong.append(f"{file}: {name}: expected an object, got {type(found).__name__}")
    return {}


def _linux(value: Any) -> Any:
    return value.get("linux") if isinstance(value, dict) else value
