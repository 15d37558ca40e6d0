"""Unpacking: regular files and folders only, all inside, within a limit; anything else is refused whole."""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, Literal, Protocol

from holdfast.core.errors import DataError
from holdfast.core.paths import storage_errors

Form = Literal["tar", "zip", "gz"]
LEAST_LIMIT: Final = 1 << 30
"""Bytes that any archive may unpack to."""
RATIO: Final = 100
"""Above ``LEAST_LIMIT``, an archive may unpack to this many times its own size."""
MEMBERS: Final = 2_000_000
_CHUNK = 1 << 20


def unpack(
    archive: Path,
    folder: Path,
    form: Form,
    *,
    only: Sequence[str] = (),
    first: int | None = None,
    limit: int | None = None,
) -> None:
    """Unpack ``archive`` (tar in any compression, zip, or one gzipped file) into ``folder``.

    A gzipped file loses its suffix ``.gz``. Of the files, those that match a glob of ``only`` (if
    any) and the ``first`` of these by name are written. Refused with DataError: absolute names and ``..``,
    links, devices and pipes, encrypted and repeated members, more than ``limit`` bytes (by default the
    greater of 1 GiB and 100 times the archive's size) or two million members, and damage. What was written
    until then lies in ``folder``, which the caller throws away. Raises StorageError.
    """
    room = _Room(limit if limit is not None else max(LEAST_LIMIT, RATIO * archive.stat().st_size), archive)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        if form == "gz":
            with gzip.open(archive) as source:
                room.write(source, folder / archive.name.removesuffix(".gz"))
        elif form == "zip":
            _unzip(archive, folder, room, _Choice(only, first))
        else:
            _untar(archive, folder, room, _Choice(only, first))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(str(archive), expected=f"a whole {form} archive", got=str(error)) from error
    except (NotImplementedError, RuntimeError) as error:  # zipfile: unknown method, encrypted member
        raise DataError(str(archive), expected="a plain zip archive", got=str(error)) from error


def form_of(name: str) -> Form | None:
    """The form that a file name promises: None for a file that is no archive."""
    lower = name.lower()
    if lower.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")):
        return "tar"
    return "zip" if lower.endswith(".zip") else "gz" if lower.endswith(".gz") else None


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, none at the end."""


class _Room:
    """What may still be written; a bomb announces no size, so bytes are counted as they come."""

    def __init__(self, limit: int, archive: Path) -> None:
        self.limit, self.archive = limit, archive
        self.left, self.members = limit, 0

    def place(self, folder: Path, name: str) -> Path:
        """Where the member ``name`` goes. Raises DataError for a place outside of ``folder``."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name[:3]:
            raise self.refused(f"the member {name!r}, which lies outside")
        self.members += 1
        if self.members > MEMBERS:
            raise self.refused(f"more than {MEMBERS} members")
        return folder.joinpath(*path.parts)

    def write(self, source: Readable, target: Path, mode: int = 0o644) -> None:
        """Copy ``source`` to the new file ``target``."""
        with storage_errors(target):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                file = target.open("xb")
            except (FileExistsError, NotADirectoryError) as error:
                raise self.refused(f"{target.name!r} twice") from error
        with file:
            while chunk := source.read(_CHUNK):
                self.left -= len(chunk)
                if self.left < 0:
                    raise self.refused(f"more than {self.limit} bytes")
                with storage_errors(target):
                    file.write(chunk)
        target.chmod(0o755 if mode & 0o100 else 0o644)

    def refused(self, why: str) -> DataError:
        """The error for an archive that is not what data come in."""
        return DataError(
            str(self.archive), expected="regular files and folders inside", got=why, remedy="do not trust it"
        )


@dataclass(frozen=True)
class _Choice:
    """Which files of an archive are wanted."""

    only: Sequence[str]
    first: int | None

    def of(self, names: Iterable[str]) -> set[str]:
        """The wanted ones of ``names``."""
        fitting = (n for n in names if not self.only or any(fnmatchcase(n, glob) for glob in self.only))
        return set(sorted(fitting)[: self.first])


def _untar(archive: Path, folder: Path, room: _Room, choice: _Choice) -> None:
    kept = None
    if choice.only or choice.first is not None:
        with tarfile.open(archive) as tar:
            kept = choice.of(member.name for member in _members(tar) if member.isreg())
    with tarfile.open(archive) as tar:
        for member in _members(tar):
            target = room.place(folder, member.name)
            if member.isdir():
                _make(target, room)
            elif member.isreg():
                if kept is not None and member.name not in kept:
                    continue
                source = tar.extractfile(member)
                assert source is not None  # it is a regular file
                with source:
                    room.write(source, target, member.mode)
            else:
                kind = "link" if member.issym() or member.islnk() else "device or pipe"
                raise room.refused(f"the {kind} {member.name!r}")


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        yield member
        tar.members = []  # type: ignore[attr-defined]  # they would all be kept
    while tar.fileobj is not None and tar.fileobj.read(_CHUNK):
        pass  # a compressed stream that was cut says so at its end only


def _unzip(archive: Path, folder: Path, room: _Room, choice: _Choice) -> None:
    with zipfile.ZipFile(archive) as zipped:
        kept = choice.of(member.filename for member in zipped.infolist() if not member.is_dir())
        for member in zipped.infolist():
            mode = member.external_attr >> 16
            target = room.place(folder, member.filename)
            if member.is_dir():
                _make(target, room)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise room.refused(f"the link or device {member.filename!r}")
            else:
                if member.filename in kept:
                    with zipped.open(member) as source:
                        room.write(source, target, mode)


def _make(folder: Path, room: _Room) -> None:
    with storage_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise room.refused(f"{folder.name!r} as a file and as a folder") from error
