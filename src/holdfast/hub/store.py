"""The index over all experiments: an SQLite file that is made from ``run.json`` and ``records.jsonl``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from holdfast.core import jsonl
from holdfast.core.errors import DataError, HoldfastError
from holdfast.core.paths import home, storage_errors
from holdfast.core.result import Label, Record
from holdfast.hub.run_record import SCHEMA, experiments

T = TypeVar("T")
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, experiment TEXT, component TEXT, status TEXT, started TEXT, folder TEXT);
CREATE TABLE IF NOT EXISTS records (
    run TEXT, number INTEGER, metric TEXT, value REAL, labels TEXT, record TEXT, PRIMARY KEY (run, number));
CREATE INDEX IF NOT EXISTS records_by_metric ON records (metric);
"""


class Stored(NamedTuple):
    """A record with the experiment and the run it belongs to."""

    experiment: str
    run: str
    record: Record


def index() -> list[str]:
    """Bring the index up to date with the files; return what could not be read, one line each."""
    return _with_index(_update)


def rebuild() -> list[str]:
    """Make the index anew from the files; return what could not be read, one line each."""
    _remove()
    return index()


def query(
    *,
    metric: str | None = None,
    labels: Mapping[str, Label] | None = None,
    experiment: str | None = None,
    run: str | None = None,
) -> list[Record]:
    """Records that fit all conditions, in order of run and of measurement. The index is updated first."""
    return [item.record for item in entries(metric=metric, labels=labels, experiment=experiment, run=run)]


def entries(
    *,
    metric: str | None = None,
    labels: Mapping[str, Label] | None = None,
    experiment: str | None = None,
    run: str | None = None,
) -> list[Stored]:
    """Like ``query``, each record with its experiment and run."""
    conditions, values = ["1"], []
    for column, value in (("metric", metric), ("experiment", experiment), ("run", run)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    sql = (
        "SELECT experiment, run, record FROM records JOIN runs ON runs.id = records.run"
        f" WHERE {' AND '.join(conditions)} ORDER BY run, number"
    )

    def select(database: sqlite3.Connection) -> list[Stored]:
        _update(database)
        rows = database.execute(sql, values).fetchall()
        return [Stored(where, which, Record.from_json(json.loads(text))) for where, which, text in rows]

    found = _with_index(select)
    wanted = (labels or {}).items()
    return [
        item for item in found if all(_same(item.record.labels.get(name), value) for name, value in wanted)
    ]


def _same(found: Label | None, wanted: Label) -> bool:
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def _path() -> Path:
    return home() / "index.sqlite"


def _remove() -> None:
    with storage_errors(_path()):
        for suffix in ("", "-journal", "-wal", "-shm"):
            _path().with_name(_path().name + suffix).unlink(missing_ok=True)


def _with_index(action: Callable[[sqlite3.Connection], T]) -> T:
    """Run ``action`` in one transaction; a damaged index is made anew, once."""
    for attempt in range(2):
        try:
            with storage_errors(_path()):
                _path().parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(_path(), timeout=30)) as database, database:
                database.executescript(_TABLES)
                database.execute("BEGIN IMMEDIATE")
                return action(database)
        except (sqlite3.DatabaseError, DataError):
            if attempt:
                raise
            _remove()
    raise AssertionError("the second attempt returns or raises")


def _update(database: sqlite3.Connection) -> list[str]:
    """Add runs that are new, drop those whose folder is gone. Kept runs never change, so a name suffices."""
    known = {row[0] for row in database.execute("SELECT folder FROM runs")}
    present = {str(path.parent) for path in experiments().glob("*/[!.]*/run.json")}
    for folder in known - present:
        database.execute("DELETE FROM records WHERE run IN (SELECT id FROM runs WHERE folder = ?)", (folder,))
        database.execute("DELETE FROM runs WHERE folder = ?", (folder,))
    problems = []
    for folder in sorted(present - known):
        try:
            _add(database, Path(folder))
        except HoldfastError as error:
            problems.append(str(error))
    return problems


def _add(database: sqlite3.Connection, folder: Path) -> None:
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if run["schema"] != SCHEMA or run["id"] != folder.name:
            raise ValueError(f"schema {run['schema']}, id {run['id']}")
        row = (run["id"], folder.parent.name, run["component"], run["status"], run["started"], str(folder))
        file = folder / "records.jsonl"
        records = [Record.from_json(line, str(file)) for line in jsonl.read(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(str(folder), expected=f"a {SCHEMA} experiment", got=str(error)) from error
    database.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)
    database.executemany(
        "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?)",
        (
            (run["id"], number, record.metric, record.value, json.dumps(record.labels, sort_keys=True), text)
            for number, record in enumerate(records)
            for text in (json.dumps(record.to_json(), sort_keys=True),)
        ),
    )
