"""What detections share: the sandbox, the threads, and the search paths of interpreters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, TypeVar

from holdfast.hub.detection.interpreters import search_path
from holdfast.hub.detection.sandbox import Sandbox

WORKERS = 8
_TIMEOUT_S = 10.0

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Session:
    """Commands are waited for in threads; closing the session ends whatever they left behind.

    ``pythons`` lists the interpreters whose distributions count; it is called once, when they are asked for.
    ``notes`` are what it had to say of changes.
    """

    def __init__(self, pythons: Callable[[Session], Iterable[Path]]) -> None:
        self.sandbox = Sandbox()
        self.notes: list[str] = []
        self._pool = ThreadPoolExecutor(WORKERS, "detect")
        self._pythons = pythons
        self._paths: dict[Path, list[str]] | None = None
        self._lock, self._making = Lock(), Lock()
        self._made: dict[str, Any] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.sandbox.__exit__(kind, error, trace)

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """``function`` of each item, in their order; not to be called by ``function`` itself."""
        return list(self._pool.map(function, items))

    def once(self, name: str, make: Callable[[], Answer]) -> Answer:
        """What ``make`` returned the first time that ``name`` was asked for; others wait for it."""
        with self._making:
            if name not in self._made:
                self._made[name] = make()
            made: Answer = self._made[name]
            return made

    def search_paths(self) -> dict[Path, list[str]]:
        """Search path of each interpreter."""
        with self._lock:
            if self._paths is None:
                pythons = list(self._pythons(self))
                asked = self.map(lambda python: search_path(python, self.sandbox, _TIMEOUT_S), pythons)
                self._paths = dict(zip(pythons, asked, strict=True))
            return self._paths
