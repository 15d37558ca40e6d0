"""Experiments as files for other software: tables of records (CSV, Parquet), and RO-Crates."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, get_args

from holdfast.core import jsonl
from holdfast.core.errors import UsageError
from holdfast.core.paths import atomic_folder, atomic_path, storage_errors
from holdfast.hub import run_record
from holdfast.hub.store import FIELDS, flat_record

Format = Literal["csv", "parquet", "ro-crate"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
_BATCH = 10_000
_TYPES = {
    "n": "int64",
    "seed": "int64",
    **dict.fromkeys(("value", "low", "high", "level"), "float64"),
    **dict.fromkeys(("timed", "simulated"), "bool_"),
}


def export_experiment(
    experiment: str | Path, to: Format, path: Path, *, every_run: bool = False, copy: bool = False
) -> list[Path]:
    """Write the run that ``experiment`` means (``run_record.locate``) to ``path``; return the runs' folders.

    CSV and Parquet have a row a record with its labels in columns ``label.NAME``, and with ``every_run`` all
    runs of the experiment's component. An RO-Crate (a folder, or a .zip) describes one run; ``copy`` puts the
    data into it that are still there, otherwise they are named by their hashes only.

    Raises UsageError for formats and arguments, UnknownNameError, DataError for damaged files, StorageError.
    """
    folder = run_record.locate(experiment)
    if to not in FORMATS:
        raise UsageError("export", expected=f"one of {', '.join(FORMATS)}", got=repr(to))
    if to == "ro-crate":
        if every_run:
            raise UsageError("export to ro-crate", expected="one run", got="every run")
        _to_crate(folder, path, copy)
        return [folder]
    if copy:
        raise UsageError(f"export to {to}", expected="records only", got="data to be copied")
    folders = [folder]
    if every_run:
        component = run_record.load(folder)["component"]
        kept = list(run_record.run_folders(folder.parent.name))[::-1]
        folders = [each for each in kept if run_record.load(each)["component"] == component]
    (write_csv if to == "csv" else write_parquet)(folders, path)
    return folders


def write_csv(folders: Sequence[Path], path: Path) -> None:
    """Write the records of runs as CSV, absent values empty. Raises DataError, StorageError."""
    columns = ["experiment", "run", *FIELDS, *_labels(folders)]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(_rows(folders))


def write_parquet(folders: Sequence[Path], path: Path) -> None:
    """Write the records of runs as Parquet, in batches. Labels of several types become text.

    Raises DataError, StorageError.
    """
    import pyarrow
    from pyarrow import parquet

    labels = _labels(folders)
    types = {**{name: _TYPES.get(name, "string") for name in ("experiment", "run", *FIELDS)}, **labels}
    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in types.items()])
    texts = {name for name, kind in labels.items() if kind == "string"}
    rows = _rows(folders)
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            for row in batch:
                row.update({name: str(row[name]) for name in texts & row.keys()})
            writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))


def _rows(folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for folder in folders:
        run = run_record.load(folder)
        names = {"experiment": run["component"].partition(":")[2], "run": run["id"]}
        for record in jsonl.read(folder / "records.jsonl"):
            yield {**names, **flat_record(record)}


def _labels(folders: Sequence[Path]) -> dict[str, str]:
    """Columns of labels with the Arrow type that holds all their values, by a first reading."""
    seen: dict[str, set[type]] = {}
    for row in _rows(folders):
        for name in row:
            if name.startswith("label."):
                seen.setdefault(name, set()).add(type(row[name]))
    return {name: _type_of(types) for name, types in sorted(seen.items())}


def _type_of(types: set[type]) -> str:
    if types == {int, float}:
        return "float64"
    names = {bool: "bool_", int: "int64", float: "float64"}
    return names.get(next(iter(types)), "string") if len(types) == 1 else "string"


def _to_crate(folder: Path, path: Path, copy: bool) -> None:
    from holdfast.hub import crate

    if path.is_dir() and any(path.iterdir()):
        raise UsageError("export to ro-crate", expected="a new or empty folder", got=str(path))
    if path.suffix != ".zip":
        with storage_errors(path):
            if path.is_dir():
                path.rmdir()
        with atomic_folder(path) as staging:
            crate.write(folder, staging, copy=copy)
        return
    with TemporaryDirectory() as temporary, atomic_path(path) as zipped:
        crate.write(folder, Path(temporary), copy=copy)
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(each for each in Path(temporary).rglob("*") if each.is_file()):
                archive.write(file, file.relative_to(temporary))
