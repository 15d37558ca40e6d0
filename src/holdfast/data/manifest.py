"""A data set pinned down: dataset.json names files with their hashes, a limit and the seed of the splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.core.errors import DataError
from holdfast.core.paths import write_json
from holdfast.data import official, sources
from holdfast.data.files import Named, found_files
from holdfast.data.hdf5 import ShowerTable
from holdfast.data.readers import FORMATS, open_reader
from holdfast.data.table import Table, file_hash, files_fingerprint

FILE = "dataset.json"
SCHEMA: Final = "holdfast.dataset/1"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PinnedFile(_Model):
    """A file as it was when pinned; ``path`` is relative to the manifest where the file lies inside."""

    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Manifest(_Model):
    """A named data set or files, the number of events to use of all, and the seed of splits."""

    schema_: Literal["holdfast.dataset/1"] = Field(default=SCHEMA, alias="schema")
    name: str
    files: list[PinnedFile] = []
    fingerprint: str
    limit: int | None = Field(default=None, ge=1)
    seed: int = 0

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def write_manifest(folder: Path, source: sources.Source, *, limit: int | None = None, seed: int = 0) -> Path:
    """Write ``folder/dataset.json`` for ``source`` and return its path.

    The data are opened, hence checked, and hashed. ``limit`` caps the events of all splits together, the
    first of each class and file in proportion; ``seed`` decides the splits of sets without official ones.
    Raises UnknownNameError, DataError, StorageError.
    """
    target = folder / FILE
    name = sources.named(source)
    if name is not None:
        table = sources.table(source)
        files = []
    else:
        table = shower = ShowerTable(sources.files(source))
        files = [_pin(path, folder) for path in shower.paths]
    manifest = Manifest(
        name=name or table.name, files=files, fingerprint=table.fingerprint, limit=limit, seed=seed
    )
    write_json(target, manifest.model_dump(mode="json", by_alias=True))
    return target


def write_raw_manifest(folder: Path, source: sources.Source) -> Path:
    """Write ``folder/dataset.json`` for files that are yet to be converted, and return its path.

    ``source`` is ``quark-gluon``, the official jets, or files and folders of any format that is read. Of the
    files only form and metadata are read. Raises DataError, StorageError.
    """
    if source in official.FILES:
        name, paths = str(source), official.official_files(str(source))
    else:
        paths = found_files(source, FORMATS)
        readers = [open_reader(path) for path in paths]
        simulated = any(reader.simulated for reader in readers)
        name = "simulated files" if simulated else "files"
    files = [_pin(path, folder) for path in paths]
    fingerprint = files_fingerprint(paths)
    target = folder / FILE
    pinned = Manifest(name=name, files=files, fingerprint=fingerprint)
    write_json(target, pinned.model_dump(mode="json", by_alias=True))
    return target


def image_files(named: Named, *, below: bool = False) -> list[Path]:
    """The files of detector images in ``named``: see ``found_files``; a manifest means those that it pins.

    Pinned files are checked by their hash. Raises UsageError, DataError.
    """
    parts = [part for part in named.split(",") if part] if isinstance(named, str) else named
    found: list[str | Path] = []
    for part in [parts] if isinstance(parts, Path) else parts:
        path = _file(Path(part).expanduser())
        found += [part] if path is None else _pinned_files(path)
    return found_files(found, FORMATS, below=below)


def _pinned_files(path: Path) -> list[Path]:
    manifest = _parse(path)
    if manifest.files:
        return [_verified(pinned, path.parent) for pinned in manifest.files]
    if manifest.name in official.FILES:
        return official.official_files(manifest.name)
    got = f"the data set {manifest.name!r}"
    raise DataError(str(path), expected="pinned files of detector images", got=got)


def data_name(folder: Path) -> str:
    """The name of the data that a manifest pins: that of the table, or of raw files. Raises DataError."""
    path = _file(Path(folder).expanduser())
    if path is None:
        raise DataError(str(folder), expected=f"a folder with {FILE}", got="none")
    manifest = _parse(path)
    return (
        sources.data_sets.get(manifest.name)().name if manifest.name in sources.data_sets else manifest.name
    )


def is_manifest(source: sources.Source) -> bool:
    """Whether ``source`` is one folder that holds a manifest, or the manifest itself."""
    return isinstance(source, str | Path) and _file(Path(source).expanduser()) is not None


def read_manifest(source: Path) -> tuple[Manifest, Table]:
    """The manifest in a folder and the table it pins down.

    Every file is hashed, once a process. Raises DataError for a manifest that is damaged and for data that
    are not those it was written for.
    """
    path = _file(Path(source).expanduser())
    if path is None:
        raise DataError(str(source), expected=f"a folder with {FILE}", got="none")
    manifest = _parse(path)
    if manifest.files:
        paths = [_verified(pinned, path.parent) for pinned in manifest.files]
        return manifest, ShowerTable(paths)
    table = sources.table(manifest.name)
    if table.fingerprint != manifest.fingerprint:
        raise DataError(
            f"data set {manifest.name!r}",
            expected=f"the content pinned in {path}",
            got="other content",
            remedy="restore the files or pin the data set again",
        )
    return manifest, table


def _file(source: Path) -> Path | None:
    path = source / FILE if source.is_dir() else source
    return path if path.name == FILE and path.is_file() else None


def _parse(path: Path) -> Manifest:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        return Manifest.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DataError(str(path), expected=f"a {SCHEMA} object", got=wrong) from error
    except (OSError, ValueError) as error:
        raise DataError(str(path), expected=f"a {SCHEMA} object", got=str(error)) from error


def _pin(path: Path, folder: Path) -> PinnedFile:
    path, folder = path.resolve(), folder.resolve()
    inside = path.is_relative_to(folder)
    return PinnedFile(
        path=path.relative_to(folder).as_posix() if inside else str(path),
        sha256=file_hash(path),
        size=path.stat().st_size,
    )


def _verified(pinned: PinnedFile, folder: Path) -> Path:
    path = folder / pinned.path  # an absolute path stays as it is
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(
            str(path), expected="the file that the manifest pins", got=error.strerror, remedy="restore it"
        ) from error
    if size != pinned.size or file_hash(path) != pinned.sha256:
        raise DataError(
            str(path),
            expected="the content that the manifest pins",
            got="a file that has changed since",
            remedy="restore the file or pin the data set again",
        )
    return path
