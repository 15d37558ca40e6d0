"""Repositories of CK, CM and MLC as they are: read, never written.

Their entries become components of kinds ``ck-<module>`` and ``cm-<automation>``, which can be found and shown
but not run; what CK declares about detecting software becomes ``soft``. Names and tags are put into our own
alphabet (``compiler.gcc`` is ``compiler-gcc``); the description as it was lies under ``fields``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from holdfast.core.errors import ComponentError
from holdfast.hub import foreign_ck, foreign_cm
from holdfast.hub.component import FILE, Component
from holdfast.hub.kinds import Base, Custom, Soft

Form = Literal["ck", "cm"]
_MARKS: Final[dict[str, Form]] = {
    ".ckr.json": "ck",
    "cmr.yaml": "cm",
    "cmr.json": "cm",
    "meta.yaml": "cm",
    "meta.json": "cm",
}
_FILES: Final[dict[Form | None, tuple[str, ...]]] = {
    None: (FILE,),
    "ck": (".cm/meta.json",),
    "cm": ("_cm.yaml", "_cm.json", "meta.yaml", "meta.json"),
}
_BASE: Final = {"schema": "holdfast.component/1", "version": "0.0.0"}


def form_of(root: Path) -> Form | None:
    """Whose repository ``root`` is: ``ck``, ``cm`` (MLC too), or None for Holdfast's own."""
    # This is asked for every component that is read; a Path would take most of the time.
    return next((form for mark, form in _MARKS.items() if os.path.isfile(f"{root}/{mark}")), None)


def descriptions(root: Path) -> tuple[str, ...]:
    """Names that a description may have in a component's folder, the one that counts first."""
    return _FILES[form_of(root)]


def kinds(root: Path) -> tuple[str, ...]:
    """Kinds of a foreign repository."""
    form = form_of(root)
    named = [f"{form}-{plain(folder.name)}" for folder in _subfolders(_entries_root(root))]
    return tuple(dict.fromkeys([*(["soft"] if form == "ck" else []), *named]))


def kind_folders(root: Path, known: Iterable[str]) -> list[Path]:
    """Folders that hold components: those named by the ``known`` kinds, or all of a foreign repository."""
    if form_of(root) is None:
        return [root / kind for kind in known]
    return _subfolders(_entries_root(root))


def folders(root: Path, kind: str | None = None, name: str | None = None) -> Iterator[Path]:
    """Folders of a foreign repository that describe a component, sorted; of one kind or name if given."""
    for group in _subfolders(_entries_root(root)):
        own = f"{form_of(root)}-{plain(group.name)}"
        if kind not in (None, own) and not (kind == "soft" and own == "ck-soft"):
            continue
        for folder in _subfolders(group):
            if name is not None and plain(folder.name) != name:
                continue
            if not any((folder / file).is_file() for file in descriptions(root)):
                continue
            # Whether an entry of CK's module soft is declarative is known only from its description.
            if own != "ck-soft" or kind is None or _kind(folder, root) == kind:
                yield folder


def load(folder: Path, repository: str, root: Path) -> Component:
    """Read an entry of a foreign repository as a component. Raises ComponentError."""
    form = form_of(root)
    file = next((folder / name for name in descriptions(root) if (folder / name).is_file()), folder)
    entry = foreign_ck.read(file, folder) if form == "ck" else foreign_cm.read(file, folder)
    meta: dict[str, Any] = {
        **_BASE,
        "name": plain(folder.name),
        "uid": entry.uid,
        "title": _printable(entry.title) or folder.name,
        "description": _printable(entry.description),
        "tags": list(dict.fromkeys(plain(str(tag)) for tag in entry.tags if plain(str(tag)))),
        "version": entry.version if re.fullmatch(r"\d+\.\d+\.\d+", entry.version) else "0.0.0",
    }
    model: type[Base] = Custom
    if entry.detect is not None:
        model = Soft
        meta |= {"kind": "soft", "detect": entry.detect}
    else:
        meta |= {"kind": f"{form}-{plain(folder.parent.name)}", "fields": entry.meta}
    try:
        return Component(model.model_validate(meta), folder.resolve(), repository, root.resolve())
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise ComponentError(str(file), got=wrong) from error


def problems(folder: Path, root: Path) -> list[str]:
    """What is wrong with the entry in ``folder`` by its own system's rules."""
    file = next((folder / name for name in descriptions(root) if (folder / name).is_file()), folder)
    read = foreign_ck.read if form_of(root) == "ck" else foreign_cm.read
    try:
        return read(file, folder).problems
    except ComponentError as error:
        return [str(error)]


def plain(name: str) -> str:
    """``name`` in lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _kind(folder: Path, root: Path) -> str | None:
    try:
        return load(folder, "", root).kind
    except ComponentError:
        return None


def _entries_root(root: Path) -> Path:
    return foreign_cm.entries_root(root) if form_of(root) == "cm" else root


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
