"""Content hashes of files and folders, remembered for as long as a file is untouched."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from holdfast.core.canonical import content_hash, hash_file

_SETTLED_NS = 2_000_000_000


class FileHashes:
    """SHA-256 of files, kept in an SQLite file by path, size, times and inode.

    The store is a mere memory: a damaged one is dropped, and nothing is remembered where none can be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = self._open()

    def file(self, path: Path) -> str:
        """SHA-256 of a file's bytes, from memory if its stamp is the remembered one."""
        stamp = _stamp(path)
        known = self._get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        digest = hash_file(path)
        # A file still being written may change again within the resolution of its times.
        if _stamp(path) == stamp and abs(time.time_ns() - path.stat().st_mtime_ns) > _SETTLED_NS:
            self.remember(path, digest)
        return digest

    def path(self, path: Path) -> str:
        """Hash of a file, or of all names and contents below a folder; equals ``canonical.hash_path``."""
        if not path.is_dir():
            return self.file(path)
        return content_hash(
            {
                item.relative_to(path).as_posix(): self.file(item)
                for item in sorted(path.rglob("*"))
                if item.is_file() and "__pycache__" not in item.relative_to(path).parts
            }
        )

    def remember(self, path: Path, digest: str) -> None:
        """Keep ``digest`` as the hash of ``path`` as it is now."""
        with suppress(sqlite3.Error):
            self._database.execute(
                "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", (str(path), _stamp(path), digest)
            )

    def close(self) -> None:
        """Close the store."""
        self._database.close()

    def _get(self, path: Path) -> tuple[str, str] | None:
        try:
            row = self._database.execute(
                "SELECT stamp, hash FROM hashes WHERE path = ?", (str(path),)
            ).fetchone()
        except sqlite3.DatabaseError:
            self._database.close()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._database = self._open()
            return None
        return (row[0], row[1]) if row else None

    def _open(self) -> sqlite3.Connection:
        with suppress(sqlite3.Error, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(str(self._path))
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return _connect(":memory:")


def _connect(place: str) -> sqlite3.Connection:
    database = sqlite3.connect(place, timeout=10, isolation_level=None)
    try:
        # What a power cut takes from this file is only hashed again.
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, stamp TEXT, hash TEXT)")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _stamp(path: Path) -> str:
    state = os.stat(path)
    return f"{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}:{state.st_ino}"
