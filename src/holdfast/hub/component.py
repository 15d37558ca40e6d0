"""Components: a folder ``<kind>/<name>/`` described by its ``component.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from packaging.version import Version
from pydantic import TypeAdapter, ValidationError

from holdfast.core.canonical import hash_tree
from holdfast.core.errors import ComponentError, UsageError
from holdfast.core.result import ComponentRef
from holdfast.hub.inputs import Input
from holdfast.hub.kinds import KINDS, AnyComponent, Base, Custom

FILE: Final = "component.json"
ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyComponent)
Kind = TypeVar("Kind", bound=Base)


@dataclass(frozen=True)
class Component:
    """A component as found: its description, its folder, and the repository (name and root) it lies in."""

    meta: Base
    folder: Path
    repository: str
    root: Path

    @property
    def kind(self) -> str:
        """Kind, for example ``program``."""
        return self.meta.kind

    @property
    def name(self) -> str:
        """Name, unique within kind and repository."""
        return self.meta.name

    @property
    def id(self) -> str:
        """``kind:name``."""
        return f"{self.meta.kind}:{self.meta.name}"

    @property
    def uid(self) -> str:
        """The 16 hex digits that stay when the name changes."""
        return self.meta.uid

    @property
    def version(self) -> Version:
        """Version, comparable."""
        return Version(self.meta.version)

    @property
    def inputs(self) -> dict[str, Input]:
        """Declared inputs by name."""
        return self.meta.inputs

    @property
    def file(self) -> Path:
        """The file that describes it."""
        return self.folder / FILE

    @cached_property
    def hash(self) -> str:
        """Content hash of the component's folder."""
        return hash_tree(self.folder)

    @property
    def ref(self) -> ComponentRef:
        """Version and content hash, as records carry them."""
        return ComponentRef(version=self.meta.version, hash=self.hash)

    def to_json(self) -> dict[str, Any]:
        """The description with repository, folder and content hash, for display."""
        meta = self.meta.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {**meta, "repository": self.repository, "folder": str(self.folder), "hash": self.hash}


def load(folder: Path, repository: str = "folder", root: Path | None = None) -> Component:
    """Read and validate ``folder/component.json``.

    Raises ComponentError, naming the file and every wrong field, also if folder and content disagree on kind
    or name.
    """
    file = folder / FILE
    try:
        data = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=no_duplicates)
    except FileNotFoundError as error:
        raise ComponentError(str(file), expected="a component description", got="no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ComponentError(str(file), expected="JSON", got=str(error)) from error
    home = folder.resolve()
    kind = data.get("kind") if isinstance(data, dict) else None
    # A kind of a project's own: whether it is defined is asked where components are found and validated.
    own = kind not in KINDS and kind == home.parent.name
    try:
        meta = Custom.model_validate(data) if own else ADAPTER.validate_python(data)
    except ValidationError as error:
        raise ComponentError(str(file), got=wrong_fields(error, 0 if own else 1)) from error
    if (home.parent.name, home.name.partition("@")[0]) != (meta.kind, meta.name):
        raise ComponentError(
            str(file),
            expected=f"to lie in {meta.kind}/{meta.name}/",
            got=f"{home.parent.name}/{home.name}/",
            remedy="rename the folder or the component",
        )
    return Component(meta, home, repository, (root or home.parent.parent).resolve())


def described(component: Component, kind: type[Kind]) -> Kind:
    """The component's description as ``kind``. Raises UsageError if it is of another kind."""
    if not isinstance(component.meta, kind):
        raise UsageError(component.id, expected=f"a {kind.__name__.lower()}", got=f"a {component.kind}")
    return component.meta


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object from its pairs; raises ValueError for a key given twice."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"key given twice: {', '.join(twice)}")
    return dict(pairs)


def wrong_fields(error: ValidationError, skip: int) -> str:
    """What is wrong, field by field; the first ``skip`` parts of each place are left out."""
    problems = []
    for item in error.errors():
        # The first element of a location is the kind, if the description was chosen by it.
        place = ".".join(str(part) for part in item["loc"][skip:]) or "the description"
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"{place}: {'unknown key' if item['type'] == 'extra_forbidden' else message}")
    return "; ".join(problems)
