"""The index of components: an SQLite file made from their descriptions, for looking among very many.

The files stay the truth: every question first compares the stamp of every description with the indexed one,
and reads those that changed. A damaged index is made anew; where none can be written, one is made in memory.
"""

from __future__ import annotations

import os
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from holdfast.core.errors import ComponentError, UnknownNameError
from holdfast.core.paths import home
from holdfast.hub import foreign
from holdfast.hub.component import Component
from holdfast.hub.repository import Repository, known_kinds, repositories

_VERSION: Final = 1
_SETTLED_NS: Final = 2_000_000_000
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS components (
    root TEXT, place TEXT, entry TEXT, stamp INTEGER,
    kind TEXT, name TEXT, uid TEXT, version TEXT, title TEXT, tags TEXT, yanked TEXT, text TEXT,
    PRIMARY KEY (place, entry));
CREATE TABLE IF NOT EXISTS places (place TEXT PRIMARY KEY, root TEXT, fingerprint TEXT);
CREATE INDEX IF NOT EXISTS by_uid ON components (uid);
CREATE INDEX IF NOT EXISTS by_root ON places (root);
"""


@dataclass(frozen=True)
class Listed:
    """A component as the index knows it."""

    repository: Repository
    folder: Path
    kind: str
    name: str
    uid: str
    version: str
    title: str
    tags: tuple[str, ...]
    yanked: str

    @property
    def id(self) -> str:
        """``kind:name``."""
        return f"{self.kind}:{self.name}"

    def load(self) -> Component:
        """The component itself, from its file. Raises ComponentError."""
        return self.repository.load(self.folder)


def listing(
    text: str = "",
    *,
    kind: str | None = None,
    uid: str | None = None,
    tags: Iterable[str] = (),
    project: Path | None = None,
) -> list[Listed]:
    """What ``repository.search`` would find, without reading the descriptions again.

    In order of precedence, then of kind and folder. Raises UnknownNameError for an unknown kind.
    """
    places = repositories(project)
    kinds = {name: place for place, name in enumerate(known_kinds(project))}
    conditions = ["kind != ''"]
    values: list[str] = []
    for word in text.lower().split():
        conditions.append("instr(text, ?) > 0")
        values.append(word)
    for tag in tags:
        conditions.append("instr(tags, ?) > 0")
        values.append(f" {tag} ")
    for column, value in (("kind", kind), ("uid", uid)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if kind is not None and kind not in kinds:
        raise UnknownNameError("kind", kind, kinds)
    columns = "root, place || '/' || entry, kind, name, uid, version, title, tags, yanked"
    with _current(places, kinds) as database:
        rows = database.execute(
            f"SELECT {columns} FROM components WHERE {' AND '.join(conditions)}", values
        ).fetchall()
    order = {str(place.root): (rank, place) for rank, place in enumerate(places)}
    found = [
        (order[root][0], kinds.get(of, len(kinds)), folder, root, of, *rest)
        for root, folder, of, *rest in rows
        if root in order
    ]
    return [
        Listed(order[root][1], Path(folder), of, name, number, version, title, tuple(tagged.split()), yanked)
        for _, _, folder, root, of, name, number, version, title, tagged, yanked in sorted(found)
    ]


def unreadable(project: Path | None = None) -> list[Path]:
    """Folders whose description cannot be read, which no listing holds; ``validate`` says why."""
    places = repositories(project)
    roots = {str(place.root) for place in places}
    with _current(places, known_kinds(project)) as database:
        rows = database.execute("SELECT root, place, entry FROM components WHERE kind = ''").fetchall()
    return sorted(Path(group) / entry for root, group, entry in rows if root in roots)


def rebuild(project: Path | None = None) -> int:
    """Make the index anew from the files; return how many components it holds."""
    _remove()
    with _current(repositories(project), known_kinds(project)) as database:
        return int(database.execute("SELECT count(*) FROM components WHERE kind != ''").fetchone()[0])


def path() -> Path:
    """The index's file; deleting it loses nothing."""
    return home() / "components.sqlite"


@contextmanager
def _current(places: list[Repository], kinds: Iterable[str]) -> Iterator[sqlite3.Connection]:
    """The index, brought up to date with the components of ``kinds`` in ``places``."""
    database = _opened(places, tuple(kinds))
    with closing(database):
        yield database


def _opened(places: list[Repository], kinds: tuple[str, ...]) -> sqlite3.Connection:
    for target in (path(), path(), None):
        database = None
        try:
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(target or ":memory:", timeout=30)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"version {version}")
            if version == 0:
                database.execute("PRAGMA synchronous=OFF")  # what a power cut takes is only read again
                database.executescript(_TABLES + f"PRAGMA user_version={_VERSION};")
            for place in places:
                _update(database, place, kinds)
            return database
        except (sqlite3.Error, OSError):
            if database is not None:
                database.close()
            if target is None:
                raise
            _remove()
    raise AssertionError("the index in memory returns or raises")


def _remove() -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):
            path().with_name(path().name + suffix).unlink(missing_ok=True)


def _update(database: sqlite3.Connection, place: Repository, kinds: tuple[str, ...]) -> None:
    root = str(place.root)
    names = foreign.descriptions(place.root)
    groups = [str(folder) for folder in foreign.kind_folders(place.root, kinds)]
    known = dict(database.execute("SELECT place, fingerprint FROM places WHERE root = ?", (root,)))
    for group in {*groups, *known}:
        stamps = _stamps(group, names) if group in groups else {}
        fingerprint = _fingerprint(stamps)
        if fingerprint is not None and known.get(group) == fingerprint:
            continue
        indexed = dict(database.execute("SELECT entry, stamp FROM components WHERE place = ?", (group,)))
        rows = [
            _row(place, group, entry, stamp)
            for entry, stamp in stamps.items()
            if stamp is None or indexed.get(entry) != stamp
        ]
        gone = [(group, entry) for entry in indexed.keys() - stamps.keys()]
        with database:
            database.executemany("DELETE FROM components WHERE place = ? AND entry = ?", gone)
            database.executemany(f"INSERT OR REPLACE INTO components VALUES ({', '.join('?' * 12)})", rows)
            database.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", (group, root, fingerprint))


def _row(place: Repository, group: str, entry: str, stamp: int | None) -> tuple[str | int | None, ...]:
    start = (str(place.root), group, entry, stamp)
    try:
        component = place.load(Path(group) / entry)
    except ComponentError:
        return (*start, "", "", "", "", "", "", "", "")
    meta = component.meta
    words = " ".join((component.id, meta.title, meta.description, *meta.tags)).lower()
    tags = f" {' '.join(meta.tags)} "
    return (*start, meta.kind, meta.name, meta.uid, meta.version, meta.title, tags, meta.yanked, words)


def _stamps(group: str, names: tuple[str, ...]) -> dict[str, int | None]:
    """Every entry of a folder that has a description, with the stamp of that.

    The stamp is None while the file may still change within the resolution of its times.
    """
    # Names relative to an open folder, and no Path: there may be ten thousand, at 2 µs each.
    found: dict[str, int | None] = {}
    settled = time.time_ns() - _SETTLED_NS
    try:
        folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return found
    try:
        for entry in os.listdir(folder):
            for name in names:
                try:
                    state = os.stat(f"{entry}/{name}", dir_fd=folder)
                except OSError:
                    continue
                changed = state.st_ctime_ns  # which moves with every change, and which no user can set
                found[entry] = hash((changed, state.st_ino)) if changed < settled else None
                break
    finally:
        os.close(folder)
    return {entry: stamp for entry, stamp in found.items() if entry[0] != "."}


def _fingerprint(stamps: dict[str, int | None]) -> str | None:
    """Hash of all names and stamps; None if one may still change."""
    values = [stamp for stamp in stamps.values() if stamp is not None]
    if len(values) < len(stamps):
        return None
    return sha256(
        "\0".join(stamps).encode(errors="surrogateescape") + array("q", values).tobytes()
    ).hexdigest()
