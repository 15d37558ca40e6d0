"""Where things live, and writes that are either whole or not there at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from holdfast.core.errors import StorageError


def home() -> Path:
    """Folder of this user's components, experiments and cache: ``$HOLDFAST_HOME`` or the platform's own."""
    override = os.environ.get("HOLDFAST_HOME")
    if override:
        return Path(override).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("holdfast", appauthor=False))


def data_roots() -> list[Path]:
    """Folders in which data sets are looked up: ``$HOLDFAST_DATA`` (``:``-separated), in order."""
    return [Path(part).expanduser() for part in os.environ.get("HOLDFAST_DATA", "").split(os.pathsep) if part]


def installed_data() -> list[Path]:
    """Folders of installed data packages, by name: ``home()/data/<name>``."""
    folder = home() / "data"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def find_data(names: Iterable[str], *, installed: bool = True) -> Path | None:
    """The first of ``names`` (relative paths) that exists below a data root, else in an installed package.

    The one rule by which data sets and packages find official files; roots go before names.
    """
    names = list(names)
    roots = data_roots() + (installed_data() if installed else [])
    for root in roots:
        for name in names:
            if (root / name).exists():
                return root / name
    return None


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing ``path`` into a StorageError that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}",
            got=error.strerror or str(error),
            remedy="free space or choose another place",
        ) from error


def _umask() -> int:
    """The permissions that new files of this process do not get; read without being set, where possible."""
    with suppress(OSError, StopIteration):
        with open("/proc/self/status", encoding="utf-8") as status:
            return int(next(line for line in status if line.startswith("Umask:")).split()[1], 8)
    umask = os.umask(0)  # for a moment other threads create files that everybody may write
    os.umask(umask)
    return umask


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; rename it onto ``path`` on success, remove it on any failure.

    The data reach the disk (fsync) before the rename, so a reader never sees a half-written file.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would hide shared results from a group
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically. Raises StorageError."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically as UTF-8. Raises StorageError."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` atomically as indented JSON (NaN refused). Raises StorageError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a staging folder beside ``target``; rename it into place on success, remove it on failure.

    If ``target`` appeared meanwhile (another process was first), the staging folder is dropped.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        staging.chmod(0o777 & ~_umask())  # mkdtemp's 0700 would hide shared results from a group
        try:
            yield staging
            publish_folder(staging, target)
        finally:
            if staging.exists():
                shutil.rmtree(staging, ignore_errors=True)


def publish_folder(staging: Path, target: Path) -> None:
    """Rename ``staging`` to ``target`` unless ``target`` exists already; then ``staging`` is left alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        try:
            staging.rename(target)
        except OSError:
            if not target.exists():
                raise
