"""The index over all experiments: an SQLite file made from ``run.json`` and ``records.jsonl``.

A record is a row (run, number) with its metric, status and labels, and where its line begins in its file.
``records.labels`` holds the numbers of its labels and components, each between blanks: " 3 17 ".
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from holdfast.core import jsonl
from holdfast.core.errors import DataError, HoldfastError, StorageError
from holdfast.core.paths import home, storage_errors
from holdfast.core.result import Label, Record
from holdfast.hub.run_record import SCHEMA, experiments

T = TypeVar("T")
VERSION: Final = 2
COMPONENT: Final = "\x00component"
"""The name under which a record's components are kept among its labels."""
_SETTLED_NS = 2_000_000_000
_TABLES = f"""
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE, experiment TEXT, component TEXT, status TEXT, started TEXT,
    seconds REAL, host TEXT, records INTEGER, folder TEXT UNIQUE, size INTEGER, modified INTEGER);
CREATE TABLE IF NOT EXISTS folders (path TEXT PRIMARY KEY, changed INTEGER);
CREATE TABLE IF NOT EXISTS metrics (number INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS labels (number INTEGER PRIMARY KEY, name TEXT, value TEXT, UNIQUE (name, value));
CREATE TABLE IF NOT EXISTS records (
    run INTEGER, number INTEGER, metric INTEGER, status TEXT, labels TEXT, start INTEGER,
    PRIMARY KEY (run, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_by_experiment ON runs (experiment, id);
CREATE INDEX IF NOT EXISTS records_by_metric ON records (metric, run);
PRAGMA user_version = {VERSION};
"""


class StaleError(DataError):
    """A run whose files are no longer those that were indexed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), expected="the records that were indexed", got="others")
        self.folder = folder


def with_index(action: Callable[[sqlite3.Connection], T]) -> T:
    """Run ``action`` on the index, brought up to date before; one that is damaged is made anew, once.

    Raises StorageError where it cannot be written.
    """
    for last in (False, False, True):
        try:
            with _held(fcntl.LOCK_SH), closing(sqlite3.connect(_path(), timeout=300)) as database:
                _open(database)
                update(database)
                return action(database)
        except StaleError as error:
            if last:
                raise
            _forget(error.folder)
        except (sqlite3.DatabaseError, DataError) as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
                raise StorageError(f"cannot write {_path()}", got=str(error)) from error
            if last:
                raise
            remove()
    raise AssertionError("the last attempt returns or raises")


def remove() -> None:
    """Remove the index: the next question makes it anew."""
    with _held(fcntl.LOCK_EX), storage_errors(_path()):
        for suffix in ("", "-journal", "-wal", "-shm"):
            _path().with_name(_path().name + suffix).unlink(missing_ok=True)


def update(database: sqlite3.Connection) -> list[str]:
    """Add runs that are new, drop those whose folder is gone; return what could not be read.

    A folder of runs that has not changed since is not looked into: kept runs never change.
    """
    known = dict(database.execute("SELECT path, changed FROM folders"))
    present = {str(path): path.stat().st_ctime_ns for path in _folders()}
    gone = {f"{experiments()}/{name}" for (name,) in database.execute("SELECT DISTINCT experiment FROM runs")}
    changed = {path for path in {*known, *present, *gone} if known.get(path) != present.get(path)}
    changed |= set(present) - set(known)
    if not changed:
        return []
    problems: list[str] = []
    for path in sorted(changed):
        with database:  # one transaction a folder: an indexing that is killed goes on where it was
            database.execute("BEGIN IMMEDIATE")
            found = _update_folder(database, Path(path)) if path in present else _drop(database, path)
            problems += found
            # A change within the clock's grain would go unseen; what was not readable may become so.
            settled = path in present and not found and time.time_ns() > present[path] + _SETTLED_NS
            database.execute("DELETE FROM folders WHERE path = ?", (path,))
            if settled:
                database.execute("INSERT INTO folders VALUES (?, ?)", (path, present[path]))
    return problems


def same_value(value: Label) -> str:
    """The text that equal label values share: 1 and 1.0 do, 1 and true and "1" do not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def _path() -> Path:
    return home() / "index.sqlite"


@contextmanager
def _held(how: int) -> Iterator[None]:
    """Hold the index: shared to use it, exclusively to remove it, which must not happen under a user."""
    path = _path().with_suffix(".lock")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        fcntl.flock(file, how)
        yield


def _open(database: sqlite3.Connection) -> None:
    """Make the tables of an empty index. Raises sqlite3.DatabaseError for one of another version."""
    if _version(database) == VERSION:
        return
    with database:
        database.execute("BEGIN IMMEDIATE")  # another process may be making them
        if _version(database) == VERSION:
            return
        if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("an index of another version")
        for statement in _TABLES.split(";"):
            database.execute(statement)


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _folders() -> Iterator[Path]:
    with suppress(FileNotFoundError), os.scandir(experiments()) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                yield Path(entry.path)


def _update_folder(database: sqlite3.Connection, folder: Path) -> list[str]:
    known = {
        row[0] for row in database.execute("SELECT folder FROM runs WHERE experiment = ?", (folder.name,))
    }
    with os.scandir(folder) as entries:
        present = {entry.path for entry in entries if not entry.name.startswith(".")}
    present = {path for path in present if path in known or os.path.exists(f"{path}/run.json")}
    for path in known - present:
        _drop_run(database, path)
    problems = []
    adding = _Adding(database)
    for path in sorted(present - known):
        try:
            adding.run(Path(path))
        except HoldfastError as error:
            problems.append(str(error))
    return problems


def _drop(database: sqlite3.Connection, path: str) -> list[str]:
    name = (Path(path).name,)
    for (folder,) in database.execute("SELECT folder FROM runs WHERE experiment = ?", name).fetchall():
        if str(Path(folder).parent) == path:
            _drop_run(database, folder)
    return []


def _drop_run(database: sqlite3.Connection, folder: str) -> None:
    database.execute("DELETE FROM records WHERE run = (SELECT number FROM runs WHERE folder = ?)", (folder,))
    database.execute("DELETE FROM runs WHERE folder = ?", (folder,))


def _forget(folder: Path) -> None:
    with _held(fcntl.LOCK_SH), closing(sqlite3.connect(_path(), timeout=300)) as database, database:
        _drop_run(database, str(folder))
        database.execute("DELETE FROM folders WHERE path = ?", (str(folder.parent),))


class _Adding:
    """Adds runs; numbers of metrics and labels are remembered from one to the next."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self.numbers: dict[tuple[str, ...], int] = {}
        self.lines: dict[tuple[Any, ...], str] = {}

    def run(self, folder: Path) -> None:
        """Add the run in ``folder``. Raises DataError for one that is not whole; nothing of it stays."""
        file = folder / "records.jsonl"
        try:
            run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            if run["schema"] != SCHEMA or run["id"] != folder.name:
                raise ValueError(f"schema {run['schema']}, id {run['id']}")
            stat = file.stat()
            rows = list(self._rows(file))
            row = (
                *(run["id"], folder.parent.name, run["component"], run["status"], run["started"]),
                *(run["seconds"], run.get("host"), len(rows), str(folder), stat.st_size, stat.st_mtime_ns),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(str(folder), expected=f"a {SCHEMA} experiment", got=str(error)) from error
        places = ", ".join("?" * len(row))
        cursor = self.database.execute(f"INSERT OR IGNORE INTO runs VALUES (NULL, {places})", row)
        if cursor.rowcount:  # a copy of a run that is indexed already adds nothing
            number = cursor.lastrowid
            rows_of_run = ((number, *fields) for fields in rows)
            self.database.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows_of_run)

    def _rows(self, file: Path) -> Iterator[tuple[int, int, str, str, int]]:
        for number, (start, line) in enumerate(jsonl.whole_lines(file)):
            try:
                record = Record.model_validate_json(line)
            except ValidationError as error:
                raise ValueError(f"{file}:{number + 1}: {error.errors()[0]['msg']}") from error
            metric = self._number("metrics", record.metric)
            yield number, metric, record.status, self._labels(record), start

    def _labels(self, record: Record) -> str:
        numbers = [
            *(self._number("labels", name, same_value(value)) for name, value in record.labels.items()),
            *(self._number("labels", COMPONENT, same_value(name)) for name in record.components),
        ]
        return f" {' '.join(map(str, sorted(numbers)))} "

    def _number(self, table: str, *fields: str) -> int:
        key = (table, *fields)
        if key not in self.numbers:
            columns = "name" if len(fields) == 1 else "name, value"
            places = ", ".join("?" * len(fields))
            self.database.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", fields)
            row = self.database.execute(f"SELECT number FROM {table} WHERE ({columns}) = ({places})", fields)
            self.numbers[key] = row.fetchone()[0]
        return self.numbers[key]
