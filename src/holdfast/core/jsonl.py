"""Append-only JSON lines that survive a kill: a torn last line is dropped, everything before it is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.paths import storage_errors


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file, ignoring a torn last line.

    Raises DataError if any other line is not a JSON object.
    """
    for number, (_, line) in enumerate(whole_lines(path), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}", expected="one JSON object a line", got=str(error)) from error
        if not isinstance(value, dict):
            raise DataError(f"{path}:{number}", expected="a JSON object", got=type(value).__name__)
        yield value


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the offset in bytes and the bytes of each line, ignoring a torn last one."""
    start = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield start, line
            start += len(line)


class Appender:
    """Appends objects to a JSON-lines file, first cutting off a torn last line.

    Each ``append`` is one write that reaches the disk before it returns. Raises StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _cut_torn_line(path)
            self._file = path.open("ab", buffering=0)

    def append(self, *values: dict[str, Any]) -> None:
        """Append ``values``, one line each, and wait until they are on the disk."""
        lines = "".join(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values)
        with storage_errors(self.path):
            self._file.write(lines.encode())
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Appender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cut_torn_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
