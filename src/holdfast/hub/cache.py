"""Finished steps by key, steps under way, and the lock that keeps two runners from sharing one step."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.paths import storage_errors, write_json
from holdfast.hub.hashes import FileHashes

META, OUTPUTS, LOG = "meta.json", "outputs", "log.txt"


@dataclass(frozen=True)
class Entry:
    """A finished step: its folder and ``meta.json`` (key, facets, hashes of outputs and records, times)."""

    folder: Path
    meta: dict[str, Any]

    @property
    def outputs(self) -> Path:
        """The folder that the program wrote."""
        return self.folder / OUTPUTS

    def paths(self) -> dict[str, Path]:
        """Absolute path of every declared output."""
        return {name: self.outputs / output["path"] for name, output in self.meta["outputs"].items()}

    def records(self) -> list[Path]:
        """Absolute paths of the files of records."""
        return [self.outputs / file["path"] for file in self.meta["records"]]


class Cache:
    """The cache below ``root``: ``cache/<2>/<key>/``, ``work/<key>/``, ``locks/<key>``, ``corrupt/``."""

    def __init__(self, root: Path, hashes: FileHashes) -> None:
        self.root, self.hashes = root, hashes

    def folder(self, key: str) -> Path:
        """Where the finished step ``key`` lies, if it does."""
        return self.root / "cache" / key[:2] / key

    def work(self, key: str) -> Path:
        """Where the step ``key`` is worked on; kept when it is interrupted."""
        return self.root / "work" / key

    def lookup(self, key: str) -> Entry | None:
        """The finished step ``key`` if it is whole: every output is there with the hash it had when made.

        A damaged entry is moved aside to ``corrupt/`` and counts as absent.
        """
        entry = self.read(key)
        if entry is None and self.folder(key).exists():
            self.discard(key)
        return entry

    def read(self, key: str) -> Entry | None:
        """Like ``lookup``, but leaves a damaged entry where it is."""
        folder = self.folder(key)
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            entry = Entry(folder, meta)
            whole = meta["key"] == key and all(
                self.hashes.path(entry.outputs / output["path"]) == output["hash"] for output in _kept(meta)
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return entry if whole else None

    def discard(self, key: str) -> None:
        """Move the entry ``key`` to ``corrupt/``, for whoever wants to know what happened to it."""
        aside = self.root / "corrupt" / f"{key}-{secrets.token_hex(4)}"
        with storage_errors(aside), suppress(FileNotFoundError):
            aside.parent.mkdir(parents=True, exist_ok=True)
            self.folder(key).rename(aside)

    def start(self, key: str, *, keep: bool) -> Path:
        """The work folder of ``key``; its earlier content is removed unless ``keep``. Raises StorageError."""
        work = self.work(key)
        with storage_errors(work):
            if work.exists() and not keep:
                shutil.rmtree(work)
            (work / OUTPUTS).mkdir(parents=True, exist_ok=True)
        return work

    def commit(self, key: str, meta: dict[str, Any]) -> Entry:
        """Turn the work folder of ``key`` into its entry: hash, write through to the disk, rename at once.

        ``meta["outputs"]`` maps names to ``{"path": …}``, ``meta["records"]`` is a list of such; hashes are
        added. Raises StorageError.
        """
        work, target = self.work(key), self.folder(key)
        with storage_errors(target):
            for output in _kept(meta):
                output["hash"] = self.hashes.path(work / OUTPUTS / output["path"])
            seal(work / OUTPUTS)
            write_json(work / META, {**meta, "key": key})
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                replaced = self.root / "work" / f"{key}.replaced-{secrets.token_hex(4)}"
                target.rename(replaced)
                work.rename(target)
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                work.rename(target)
        return Entry(target, {**meta, "key": key})

    @contextmanager
    def lock(self, key: str, on_wait: Callable[[], None]) -> Iterator[int]:
        """Hold the lock of ``key``; yield its file descriptor. ``on_wait`` is called before waiting.

        The system frees the lock when its last holder dies, however that happens.
        """
        path = self.root / "locks" / key
        descriptor = _acquire(path, on_wait)
        try:
            yield descriptor
        finally:
            path.unlink(missing_ok=True)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _acquire(path: Path, on_wait: Callable[[], None]) -> int:
    while True:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            low = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            # Programs inherit it, and the shell that starts them uses the descriptors below 10 itself.
            descriptor = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10)
            os.close(low)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Its last holder removed the file: whoever comes next would lock another one.
            if path.exists() and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _kept(meta: dict[str, Any]) -> list[dict[str, str]]:
    return [*meta["outputs"].values(), *meta["records"]]


def seal(folder: Path) -> None:
    """Write all files below ``folder`` through to the disk and make them read-only."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.chmod(path.stat().st_mode & 0o555)
