"""Versions in what a command said, in a file's name or in its content."""

from __future__ import annotations

import mmap
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEARCHED_BYTES: Final = 1 << 26


@dataclass(frozen=True)
class Reading:
    """A version, and the path that the text names for it (group ``path``), if any."""

    version: str
    path: Path | None = None


def read_text(pattern: str, text: str) -> Reading | None:
    """The version in ``text``; None if there is none.

    The groups of ``pattern`` whose names start with ``version`` are joined by dots, where they matched:
    ``version``, ``version_minor``… for numbers that stand apart, or one each for alternatives.
    """
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        return None
    groups = match.groupdict()
    parts = [part for name, part in groups.items() if name.startswith("version") and part]
    path = groups.get("path")
    return Reading(".".join(parts), Path(path) if path else None) if parts else None


def read_file(pattern: str, path: Path) -> Reading | None:
    """The version in the real path of a file or folder, else in its first 64 MiB, text or binary."""
    named = read_text(pattern, str(path))
    if named is not None or not path.is_file():
        return named
    with suppress(OSError, ValueError), path.open("rb") as file:  # ValueError: an empty file
        size = path.stat().st_size
        if size == 0:  # as those of /proc say
            return read_text(pattern, file.read(1 << 16).decode(errors="replace"))
        with mmap.mmap(file.fileno(), min(size, SEARCHED_BYTES), access=mmap.ACCESS_READ) as data:
            match = re.search(pattern.encode(), data, re.MULTILINE)
            return None if match is None else read_text(pattern, match[0].decode(errors="replace"))
    return None
