"""Keeping what was measured before beside what was measured now."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from holdfast.core.result import Record, read_records, write_records


def replace(path: Path, made: Sequence[Record], key: Callable[[Record], Hashable]) -> None:
    """Write ``made`` to ``path`` after the records there whose ``key`` is none of theirs."""
    kept = read_records(path) if path.exists() else []
    new = {key(record) for record in made}
    write_records(path, [*(old for old in kept if key(old) not in new), *made])
