"""Giving components away, into another repository or a zip, and taking them or pulled repositories out."""

from __future__ import annotations

import re
import shutil
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.core.canonical import hash_tree
from holdfast.core.errors import ComponentError, UsageError
from holdfast.core.paths import atomic_folder, atomic_path, home, publish_folder, storage_errors
from holdfast.hub import foreign
from holdfast.hub.component import Component, load
from holdfast.hub.kinds import NAME
from holdfast.hub.pulled import find_pulled, repos
from holdfast.hub.repository import find, repositories
from holdfast.hub.validation import validate

_LEFT_OUT = frozenset({"__pycache__", ".git"})
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Published:
    """Where components went, and the content hash by which a pull can be verified."""

    path: Path
    components: list[str]
    hash: str

    def to_json(self) -> dict[str, Any]:
        """For display."""
        return {"path": str(self.path), "components": self.components, "hash": f"sha256:{self.hash}"}


def publish_components(specs: list[str], to: Path, *, project: Path | None = None) -> Published:
    """Copy components into the repository ``to``, or into a new archive if that ends in ``.zip``.

    Every component must be valid. The same components always give the same zip, byte for byte, whose hash is
    that of its content, as `holdfast pull --hash` wants it. Raises UsageError if a version is already
    published with other content, ComponentError for an invalid component, StorageError.
    """
    found = [find(spec, project=project) for spec in specs]
    if not found:
        raise UsageError("publish", expected="one component or more", got="none")
    for component in found:
        if foreign.form_of(component.root) is not None:
            raise ComponentError(component.id, expected="a component of ours", got="one of CK, CM or MLC")
        problems = validate(component.folder)
        if problems:
            raise ComponentError(
                f"{component.id} is not valid", got="; ".join(map(str, problems)), remedy="correct it first"
            )
    ids = [f"{component.id}@{component.version}" for component in found]
    if to.suffix == ".zip":
        return Published(to, ids, _zip(found, to))
    for component in found:
        _copy(component, to)
    return Published(to, ids, hash_tree(to))


def remove(spec: str, *, project: Path | None = None) -> Path:
    """Take out a component of one's own (``kind:name``) or a whole pulled repository (its name).

    A component is moved to ``removed/`` in the home folder; a pulled repository is deleted, it can be pulled
    again. Returns the folder that was. Raises UsageError for what is not one's own to remove.
    """
    if ":" not in spec:
        return _remove_pulled(spec)
    component = find(spec, project=project)
    if component.repository == "built-in" or component.folder.is_relative_to(repos()):
        remedy = "" if component.repository == "built-in" else f"holdfast remove {component.repository}"
        raise UsageError(
            component.id,
            expected="a component of your own",
            got=f"one of the repository {component.repository!r}",
            remedy=remedy or None,
        )
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    target = home() / "removed" / stamp / component.kind / component.folder.name
    with storage_errors(target):
        target.parent.mkdir(parents=True)
        shutil.move(component.folder, target)
    return target


def _remove_pulled(name: str) -> Path:
    place = repos() / name
    if not re.fullmatch(NAME, name) or not place.is_dir():
        known = [each.name for each in repositories() if each.root.is_relative_to(repos())]
        raise UsageError(
            f"remove {name!r}",
            expected=f"kind:name, or a pulled repository of {', '.join(known) or 'none'}",
            got=repr(name),
        )
    pulled = find_pulled(name) if (place / "repository.json").is_file() else None
    with storage_errors(place):
        (place / "repository.json").unlink(missing_ok=True)  # from here on it is no repository any more
        shutil.rmtree(place)
    return pulled.root if pulled else place


def _copy(component: Component, to: Path) -> None:
    """Beside other versions, under ``<kind>/<name>@<version>/`` if the plain name is taken by another."""
    plain = to / component.kind / component.name
    versioned = plain.with_name(f"{component.name}@{component.version}")
    for place in (plain, versioned):
        if not place.exists():
            continue
        there = load(place, "target", to)
        if there.uid != component.uid:
            raise UsageError(
                component.id,
                expected=f"the component with uid {there.uid} at {place}",
                got=f"another one with uid {component.uid}",
                remedy="choose another name",
            )
        if there.version == component.version:
            if hash_tree(place) == hash_tree(component.folder):
                return
            raise UsageError(
                f"{component.id} {component.version} at {place}",
                expected="the same content, for it is published",
                got="other content",
                remedy="give the changed component a new version",
            )
    target = versioned if plain.exists() else plain
    with storage_errors(target), atomic_folder(target) as staging:
        shutil.copytree(
            component.folder,
            staging,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(*_LEFT_OUT),
            copy_function=shutil.copyfile,
        )
        publish_folder(staging, target)


def _zip(found: list[Component], to: Path) -> str:
    with atomic_path(to) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for component in sorted(found, key=lambda item: (item.kind, item.folder.name)):
            for file in sorted(component.folder.rglob("*")):
                inside = file.relative_to(component.folder)
                if not file.is_file() or _LEFT_OUT.intersection(inside.parts):
                    continue
                name = f"{component.kind}/{component.folder.name}/{inside.as_posix()}"
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o755 if file.stat().st_mode & 0o100 else 0o644) << 16
                archive.writestr(entry, file.read_bytes())
    with storage_errors(to):
        from tempfile import TemporaryDirectory

        from holdfast.hub.origins import bring

        with TemporaryDirectory(prefix="holdfast-publish-") as folder:
            bring(str(to), Path(folder))
            return hash_tree(Path(folder))
