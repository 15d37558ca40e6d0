"""Canonical JSON and content hashes, the identity of records, components and cached results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError

_CHUNK = 1 << 20


def canonical_json(value: Any) -> bytes:
    """Serialise ``value`` to the one byte string that hashing and signing use.

    Keys sorted, no spaces, UTF-8, shortest round-trip floats. Raises DataError for NaN and infinities: JSON
    has neither, and an absent measurement is ``None``.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise DataError("canonical JSON", expected="finite numbers", got=str(error)) from error
    return text.encode()


def content_hash(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes, read in 1 MiB chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_tree(folder: Path, *, skip: frozenset[str] = frozenset({"__pycache__"})) -> str:
    """SHA-256 over the relative names and contents of all files below ``folder``, in sorted order."""
    entries = {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not skip.intersection(path.relative_to(folder).parts)
    }
    return content_hash(entries)


def hash_path(path: Path) -> str:
    """Hash of a file or of a folder's tree."""
    return hash_tree(path) if path.is_dir() else hash_file(path)
