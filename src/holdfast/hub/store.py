"""Questions to all recorded experiments: which records fit, from which run, as objects or as a table."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record
from holdfast.hub import store_index
from holdfast.hub.store_index import COMPONENT, StaleError, same_value, with_index

if TYPE_CHECKING:
    import pandas

_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Conditions(TypedDict, total=False):
    """What records must fulfil; what is absent or None is not asked.

    ``labels``: each a value, or a list of which one must fit. ``component``: ``kind:name`` of any component
    that took part. ``status``: the record's own. ``since``: an ISO date or time (UTC unless it says), or an
    age (``90m``, ``12h``, ``7d``, ``2w``), of the run's start. ``newest``: of each experiment only the newest
    run that has a fitting record.
    """

    metric: str | None
    labels: Mapping[str, Label | Sequence[Label]] | None
    experiment: str | None
    run: str | None
    component: str | None
    status: str | None
    since: str | datetime | None
    newest: bool


class Stored(NamedTuple):
    """A record with the experiment and the run it belongs to."""

    experiment: str
    run: str
    record: Record


@dataclass(frozen=True)
class KeptRun:
    """A run as the index lists it: ``records`` is how many it left, ``folder`` where they lie."""

    id: str
    experiment: str
    component: str
    status: str
    started: str
    seconds: float
    host: str | None
    records: int
    folder: Path


def index() -> list[str]:
    """Bring the index up to date with the files; return what could not be read, one line each."""
    return with_index(store_index.update)


def rebuild() -> list[str]:
    """Make the index anew from the files; return what could not be read, one line each."""
    store_index.remove()
    return index()


def query(**conditions: Unpack[Conditions]) -> list[Record]:
    """Records that fit all conditions, in order of run and of measurement. The index is updated first.

    Raises UsageError for a ``since`` that is no time, DataError or StorageError for what cannot be read.
    """
    return [item.record for item in entries(**conditions)]


def entries(**conditions: Unpack[Conditions]) -> list[Stored]:
    """Like ``query``, each record with its experiment and run."""
    return [
        Stored(experiment, run, Record.model_validate_json(line))
        for experiment, run, line in _lines(conditions)
    ]


def runs(**conditions: Unpack[Conditions]) -> list[KeptRun]:
    """Runs that have a fitting record, the oldest first; without conditions on records, all of them."""

    def select(database: sqlite3.Connection) -> list[KeptRun]:
        where = _Where(database, conditions)
        names = list(KeptRun.__dataclass_fields__)
        columns = ", ".join(f"runs.{name}" for name in names)
        rows = database.execute(
            f"SELECT {columns} FROM runs WHERE {where.runs} ORDER BY id", where.values
        ).fetchall()
        return [KeptRun(**dict(zip(names, row, strict=True)) | {"folder": Path(row[-1])}) for row in rows]

    return with_index(select)


def frame(**conditions: Unpack[Conditions]) -> pandas.DataFrame:
    """Fitting records as a pandas table: a row a record, a column ``label.NAME`` for each label.

    Other columns: experiment, run, metric, value, unit, direction, n, low, high, level, timed, seed, status,
    simulated, time, host. Raises UsageError without pandas, and what ``query`` raises.
    """
    try:
        import pandas
    except ImportError as error:
        remedy = "pip install holdfast[frames]"
        raise UsageError("a table", expected="pandas", got="not installed", remedy=remedy) from error
    table = pandas.DataFrame(flat(**conditions))
    columns = ["experiment", "run", *FIELDS]
    return table.reindex(columns=[*columns, *sorted(set(table.columns).difference(columns))])


FIELDS = (
    *("metric", "value", "unit", "direction", "n", "low", "high", "level", "timed"),
    *("seed", "status", "simulated", "message", "time", "host"),
)


def flat(**conditions: Unpack[Conditions]) -> Iterator[dict[str, Any]]:
    """Fitting records as flat rows, labels as ``label.NAME``: what tables and files of values are made of."""
    for experiment, run, line in _lines(conditions):
        yield {"experiment": experiment, "run": run, **flat_record(json.loads(line))}


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's JSON object as one flat row: ``FIELDS``, then its labels."""
    interval = record["interval"] or {}
    row = {name: (interval if name in ("low", "high", "level") else record).get(name) for name in FIELDS}
    return row | {f"label.{name}": value for name, value in record.get("labels", {}).items()}


class _Where:
    """Conditions as SQL: ``runs`` on a run, ``records`` on a record of it, with the values of both."""

    def __init__(self, database: sqlite3.Connection, conditions: Conditions) -> None:
        unknown = set(conditions) - set(Conditions.__annotations__)
        if unknown:
            known = ", ".join(Conditions.__annotations__)
            raise UsageError("query", expected=f"conditions of {known}", got=", ".join(sorted(unknown)))
        self.database, self.newest = database, conditions.get("newest", False)
        self.values: dict[str, Any] = {}
        on_runs, on_records = ["1"], []
        for name, column in (("experiment", "experiment"), ("run", "id")):
            if conditions.get(name) is not None:
                on_runs.append(f"runs.{column} = {self._value(conditions[name])}")  # type: ignore[literal-required]
        if (since := conditions.get("since")) is not None:
            on_runs.append(f"runs.started >= {self._value(_utc(since))}")
        if (metric := conditions.get("metric")) is not None:
            on_records.append(f"records.metric = {self._value(self._number('metrics', metric))}")
        if (status := conditions.get("status")) is not None:
            on_records.append(f"records.status = {self._value(status)}")
        for label, wanted in (conditions.get("labels") or {}).items():
            any_of = [wanted] if isinstance(wanted, str | int | float) else wanted
            on_records.append(self._labelled(label, any_of))
        if (component := conditions.get("component")) is not None:
            took_part = self._labelled(COMPONENT, [component])
            if on_records:
                on_records.append(f"(runs.component = {self._value(component)} OR {took_part})")
            else:
                inside = f"EXISTS (SELECT 1 FROM records WHERE run = runs.number AND {took_part})"
                on_runs.append(f"(runs.component = {self._value(component)} OR {inside})")
        self.records = " AND ".join(on_records) or "1"
        if on_records:
            on_runs.append(f"EXISTS (SELECT 1 FROM records WHERE run = runs.number AND {self.records})")
        self.runs = " AND ".join(on_runs)
        if self.newest:
            self.runs = f"runs.number IN ({', '.join(map(str, self._newest()))})"

    def _newest(self) -> list[int]:
        """Of each experiment the newest run that fits; run ids are in order of time."""
        sql = f"SELECT number FROM runs WHERE experiment = :name AND {self.runs} ORDER BY id DESC LIMIT 1"
        names = [row[0] for row in self.database.execute("SELECT DISTINCT experiment FROM runs")]
        found = (self.database.execute(sql, {**self.values, "name": name}).fetchone() for name in names)
        return [row[0] for row in found if row is not None]

    def _labelled(self, name: str, any_of: Sequence[Label]) -> str:
        numbers = [self._number("labels", name, same_value(value)) for value in any_of]
        inside = [f"instr(records.labels, ' {number} ')" for number in numbers if number is not None]
        return f"({' OR '.join(inside)})" if inside else "0"

    def _number(self, table: str, *fields: str) -> int | None:
        columns, places = ("name", "?") if len(fields) == 1 else ("name, value", "?, ?")
        row = self.database.execute(f"SELECT number FROM {table} WHERE ({columns}) = ({places})", fields)
        found = row.fetchone()
        return None if found is None else int(found[0])

    def _value(self, value: Any) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"


def _lines(conditions: Conditions) -> Iterator[tuple[str, str, bytes]]:
    """Experiment, run and line of every fitting record: found by the index, read from the files."""

    def select(database: sqlite3.Connection) -> list[tuple[str, str, Path, list[int]]]:
        where = _Where(database, conditions)
        # Read to the end: a cursor left half-way would keep the index locked.
        kept = database.execute(
            f"SELECT number, experiment, id, folder, size, modified FROM runs WHERE {where.runs} ORDER BY id",
            where.values,
        ).fetchall()
        rows = database.execute(
            "SELECT run, start FROM records JOIN runs ON runs.number = records.run"
            f" WHERE {where.records} AND {where.runs} ORDER BY run, records.number",
            where.values,
        ).fetchall()
        starts = {run: [start for _, start in group] for run, group in groupby(rows, key=lambda row: row[0])}
        found = []
        for number, experiment, run, folder, size, modified in kept:
            if number in starts:
                _check(Path(folder), size, modified)
                found.append((experiment, run, Path(folder) / "records.jsonl", starts[number]))
        return found

    for experiment, run, file, starts in with_index(select):
        with file.open("rb") as opened:
            for start in starts:
                opened.seek(start)
                yield experiment, run, opened.readline()


def _check(folder: Path, size: int, modified: int) -> None:
    try:
        stat = (folder / "records.jsonl").stat()
    except OSError as error:
        raise StaleError(folder) from error
    if (stat.st_size, stat.st_mtime_ns) != (size, modified):
        raise StaleError(folder)


def _utc(since: str | datetime) -> str:
    """A time as runs carry theirs. Raises UsageError."""
    if isinstance(since, str):
        ago = _AGO.fullmatch(since)
        try:
            if ago is not None:
                since = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            else:
                since = datetime.fromisoformat(since)
        except (ValueError, OverflowError) as error:
            expected = "a date or time such as 2026-11-21T10:00, or an age such as 7d"
            raise UsageError("since", expected=expected, got=repr(since)) from error
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return since.astimezone(UTC).isoformat(timespec="seconds")
