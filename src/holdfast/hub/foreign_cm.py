"""Entries of CM and MLC repositories: ``<automation>/<name>/_cm.yaml`` or ``meta.yaml``."""

from __future__ import annotations

import datetime
import re
from math import isfinite
from pathlib import Path
from typing import Any, Final

from holdfast.core.errors import ComponentError
from holdfast.hub.foreign_ck import MOST_BYTES, Entry, read_json

MOST_VALUES: Final = 100_000
"""Values in one description; aliases of YAML could otherwise stand for billions."""
_UID = re.compile(r"[0-9a-f]{16}")


def read(file: Path, folder: Path) -> Entry:
    """Read the entry in ``folder``. Raises ComponentError for what is no mapping or has no UID."""
    meta = read_yaml(file) if file.suffix == ".yaml" else read_json(file)
    wrong = []
    uid = str(meta.get("uid", ""))
    if not _UID.fullmatch(uid):
        raise ComponentError(f"{file}: uid", expected="16 hex digits", got=repr(meta.get("uid")))
    alias = meta.get("alias")
    if alias != folder.name:
        wrong.append(f"{file}: alias: expected the name of the folder, {folder.name}, got {alias!r}")
    tags = meta.get("tags", [])
    if not isinstance(tags, list):
        wrong.append(f"{file}: tags: expected a list, got {type(tags).__name__}")
        tags = str(tags).split(",")
    if not meta.get("automation_alias"):
        wrong.append(f"{file}: automation_alias: expected the name of the automation, got none")
    deps = meta.get("deps", [])
    if not isinstance(deps, list) or any(not isinstance(item, dict) for item in deps):
        wrong.append(f"{file}: deps: expected a list of mappings")
    title = str(meta.get("name") or alias or folder.name)
    return Entry(
        uid, title, tags, meta, str(meta.get("desc", "")), str(meta.get("version", "")), problems=wrong
    )


def entries_root(root: Path) -> Path:
    """Where the automations lie: the repository, or its ``prefix``."""
    for name in ("cmr.yaml", "meta.yaml"):
        if (root / name).is_file():
            try:
                prefix = str(read_yaml(root / name).get("prefix") or ".")
            except ComponentError:
                return root
            inside = ".." not in Path(prefix).parts and not Path(prefix).is_absolute()
            return root / prefix if inside else root
    return root


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as JSON values. Raises ComponentError."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        data = _plain(yaml.load(file.read_text(encoding="utf-8"), loader), [MOST_VALUES])
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ComponentError(str(file), expected="YAML", got=" ".join(str(error).split())) from error
    if not isinstance(data, dict):
        raise ComponentError(str(file), expected="a mapping", got=type(data).__name__)
    return data


def _plain(value: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {MOST_VALUES} values")
    if isinstance(value, dict):
        return {str(key): _plain(item, left) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, left) for item in value]
    odd = isinstance(value, datetime.date | bytes | set) or (isinstance(value, float) and not isfinite(value))
    return str(value) if odd else value
