"""The folder of a conversion under way: finished pieces, one conversion at a time, and who does the work."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.paths import storage_errors, write_text
from holdfast.data.conversion.layout import SPLITS, read_attributes
from holdfast.data.conversion.pieces import Piece, Task
from holdfast.data.conversion.planning import Plan

FOLDER = ".convert"
_AHEAD = 32


class Work:
    """``folder``/.convert, where finished pieces wait until all are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part(self, number: int) -> Path:
        """The file of a piece."""
        return self.folder / f"{number:06d}.h5"

    def parts(self, plan: Plan) -> list[Path]:
        """The files of all pieces in order."""
        return [self.part(number) for number in range(len(plan.pieces))]

    def make_pieces(
        self,
        plan: Plan,
        make: Callable[[Piece, Task, Path], None],
        pool: Executor | None,
        advance: Callable[..., None],
    ) -> int:
        """Make the pieces that are not there yet, few at a time; return how many were."""
        missing = [number for number, path in enumerate(self.parts(plan)) if not path.exists()]
        there = len(plan.pieces) - len(missing)
        advance(there)
        waiting: deque[Future[None]] = deque()
        for number in missing:
            piece, target = plan.pieces[number], self.part(number)
            if pool is None:
                make(piece, plan.task, target)
                advance()
                continue
            waiting.append(pool.submit(make, piece, plan.task, target))
            if len(waiting) >= _AHEAD:
                waiting.popleft().result()
                advance()
        while waiting:
            waiting.popleft().result()
            advance()
        return there


@contextmanager
def held(folder: Path, key: str) -> Iterator[Work]:
    """The work folder of the conversion ``key`` in ``folder``, for this process alone.

    Pieces of another conversion are deleted, and the work folder itself at the end. Raises UsageError while
    another process works there, StorageError.
    """
    work = folder / FOLDER
    with storage_errors(folder):
        work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                str(folder),
                expected="one conversion at a time",
                got="another one under way",
                remedy="wait for it or choose another folder",
            ) from error
        plan = work / "plan.json"
        if not plan.exists() or json.loads(plan.read_text(encoding="utf-8")).get("key") != key:
            for path in work.glob("*.h5"):
                path.unlink()
            write_text(plan, json.dumps({"key": key}))
        yield Work(work)
        shutil.rmtree(work, ignore_errors=True)


def finished(folder: Path, key: str) -> dict[str, Any] | None:
    """The attributes of ``folder``'s files if they are what ``key`` makes; None if some are missing.

    Raises UsageError if there is another conversion.
    """
    there = [folder / f"{split}.h5" for split in SPLITS if (folder / f"{split}.h5").exists()]
    if not there:
        return None
    found = [read_attributes(path) for path in there]
    if any(attributes["conversion"]["key"] != key for attributes in found):
        raise UsageError(
            str(folder),
            expected="an empty folder, or the same conversion",
            got="the result of another conversion",
            remedy="choose another folder, or delete this one",
        )
    return found[0] if len(there) == len(SPLITS) else None


@contextmanager
def executor_of(workers: int, executor: Executor | None) -> Iterator[Executor | None]:
    """The given executor, a pool of ``workers`` processes, or None for this process."""
    if workers < 1:
        raise UsageError("workers", expected="at least 1", got=workers)
    if executor is not None or workers == 1:
        yield executor
        return
    # Spawned, since a forked copy of a process that uses threads may hang.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupt)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
