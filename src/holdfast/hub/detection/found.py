"""Software as it was found: version, path, hash, and how it was come by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class Found:
    """One installation of the software that ``component`` (``soft:name``) detects.

    ``path`` is what to use: the binary, the library or header, or the interpreter that has the distribution.
    ``binary_hash`` is the SHA-256 of ``real``, the file behind all links, None for a folder (a distribution's
    ``real`` is its RECORD, which holds the hashes of its files). ``also`` are further names of it,
    ``environment`` is to be set for who uses it, ``detected`` the time in UTC, ``how`` where it was come by.
    """

    component: str
    version: str
    path: Path
    binary_hash: str | None
    environment: Mapping[str, str]
    detected: str
    how: str
    real: Path = Path()
    also: tuple[str, ...] = ()
    stamp: str = field(default="", repr=False)

    @property
    def parsed(self) -> Version | None:
        """The version, comparable; None where it does not follow PEP 440."""
        try:
            return Version(self.version)
        except InvalidVersion:
            return None

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        data = asdict(self)
        return {**data, "path": str(self.path), "real": str(self.real), "also": list(self.also)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Found:
        """The inverse of ``to_json``. Raises TypeError or KeyError for anything else."""
        paths = {"path": Path(data["path"]), "real": Path(data["real"]), "also": tuple(data["also"])}
        return cls(**{**data, **paths})


def stamp(path: Path) -> str:
    """Size, times and inode of a file or folder, by which a change is seen. Raises OSError."""
    state = os.stat(path)
    return f"{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}:{state.st_ino}"
