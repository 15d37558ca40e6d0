"""One way to register things by name: a decorator inside the package, entry points outside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from holdfast.core.errors import DuplicateNameError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind by name, completed by the entry-point group ``holdfast.<group>``.

    Duplicate names raise DuplicateNameError; unknown names raise UnknownNameError with the valid ones listed.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, f"holdfast.{group}"
        self._entries: dict[str, T] = {}
        self._plugins_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its target under ``name``."""

        def add(entry: T) -> T:
            self._add(name, entry)
            return entry

        return add

    def get(self, name: str) -> T:
        """Return the entry called ``name``."""
        self._load_plugins()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load_plugins()
        return sorted(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._entries

    def _add(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise DuplicateNameError(
                f"{self.kind} {name!r} is registered twice",
                remedy="rename one of the two or uninstall its package",
            )
        self._entries[name] = entry

    def _load_plugins(self) -> None:
        if not self._plugins_loaded:
            self._plugins_loaded = True
            for point in entry_points(group=self.group):
                self._add(point.name, point.load())
