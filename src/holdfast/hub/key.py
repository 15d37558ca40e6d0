"""The key of a step: a hash of its facets, that is of everything that can change its result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core import environment
from holdfast.core.canonical import content_hash, hash_file
from holdfast.core.errors import ComponentError
from holdfast.hub.component import Component, described
from holdfast.hub.hashes import FileHashes
from holdfast.hub.inputs import PATH_TYPES
from holdfast.hub.kinds import Program
from holdfast.hub.kinds.matrix import REPETITION
from holdfast.hub.values import source_paths

if TYPE_CHECKING:
    from holdfast.hub.needs import Satisfied
    from holdfast.hub.workflow import BoundStep

_CODE = frozenset({".py", ".so", ".pyd", ".dylib", ".j2"})
Facets = dict[str, Any]


def facets(
    component: Component,
    inputs: Mapping[str, Any],
    hashes: FileHashes,
    made: Mapping[str, str] | None = None,
    needs: Mapping[str, Any] | None = None,
) -> Facets:
    """What can change the result of ``component`` on ``inputs``: component, code, inputs, files, software.

    ``made`` holds hashes already known, by path (outputs of earlier steps). Paths count by content, and
    files by their own name too, which programs may read a format from; the folders above never count.
    ``needs`` are the facets of what the program's needs became, by name.
    """
    program = described(component, Program)
    values: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for name, value in inputs.items():
        kind = component.inputs[name].type
        paths = named_paths(kind, value)
        if paths is None:
            values[name] = value
        else:
            digests = [_named_hash(path, hashes, made or {}) for path in paths]
            files[name] = digests if kind == "paths" or len(digests) > 1 else digests[0]
    found = {
        "component": {"id": component.id, "version": component.meta.version, "hash": component.hash},
        "code": code(program),
        "inputs": values,
        "files": files,
        "software": environment.software(),
    }
    return {**found, "needs": dict(needs)} if needs else found


def of_step(
    step: BoundStep,
    inputs: Mapping[str, Any],
    hashes: FileHashes,
    made: Mapping[str, str],
    needs: Mapping[str, Satisfied],
) -> Facets:
    """The facets of a workflow's step; repetitions but the first are results of their own."""
    found = facets(step.program, inputs, hashes, made, {name: item.facet() for name, item in needs.items()})
    number = step.cell.get(REPETITION, 0)
    return {**found, REPETITION: number} if number else found


def key(found: Facets) -> str:
    """The content hash (64 hex digits) of facets."""
    return content_hash(found)


def differences(old: Facets, new: Facets) -> list[str]:
    """What changed from ``old`` to ``new`` facets, one phrase each; empty if nothing did."""
    found = []
    before, after = old["component"], new["component"]
    if before != after:
        versions = f"{before['version']} -> {after['version']}"
        changed = "changed" if before["version"] == after["version"] else versions
        found.append(f"component {after['id']}: {changed}")
    for package in sorted({*old["code"], *new["code"]}):
        if old["code"].get(package) != new["code"].get(package):
            found.append(f"code of {package} changed")
    for name, was, now in _changes(old["inputs"], new["inputs"]):
        found.append(f"inputs.{name}: {was} -> {now}")
    for name, was, now in _changes(old["files"], new["files"]):
        found.append(
            f"file {name}: " + {_ABSENT: "given"}.get(was, {_ABSENT: "no longer given"}.get(now, "changed"))
        )
    for name, was, now in _changes(old["software"], new["software"]):
        found.append(f"{name} {was} -> {now}")
    return found + _changed_needs(old.get("needs", {}), new.get("needs", {}))


def _changed_needs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What became of needs before and now, one phrase each: ``gcc 12.2.0 -> 13.1.0``."""
    found = []
    for name in dict.fromkeys([*old, *new]):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        if was is None or now is None:
            found.append(f"need {name}: {'given' if was is None else 'no longer given'}")
            continue
        before, after = was["id"].partition(":")[2], now["id"].partition(":")[2]
        if before != after:
            found.append(f"need {name}: {before} {was['version']} -> {after} {now['version']}")
        elif was["version"] != now["version"]:
            found.append(f"{after} {was['version']} -> {now['version']}")
        else:
            found.append(f"{after} {now['version']}: other content")
    return found


_ABSENT = "absent"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    def show(values: Mapping[str, Any], name: str) -> str:
        return _shorten(values[name]) if name in values else _ABSENT

    names = [*old, *(name for name in new if name not in old)]
    return [
        (name, show(old, name), show(new, name))
        for name in names
        if (name in old) != (name in new) or old.get(name) != new.get(name)
    ]


def _shorten(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({content_hash(value)[:8]})"


def named_paths(kind: str, value: Any) -> list[Path] | None:
    """The files that a value names; None if it names none."""
    if kind not in PATH_TYPES or value is None:
        return None
    if kind == "source":
        return source_paths(value) or None
    return [Path(item) for item in (value if kind == "paths" else [value])]


def _named_hash(path: Path, hashes: FileHashes, made: Mapping[str, str]) -> str:
    digest = made.get(str(path)) or hashes.path(path)
    return digest if path.is_dir() else f"{path.name}:{digest}"


def code(program: Program) -> dict[str, str]:
    """Hash of the package that a Python entry belongs to; everything else lies in the component's folder."""
    if program.entry.python is None:
        return {}
    module, _, _ = program.entry.python.partition(":")
    if module.endswith(".py"):
        return {}
    package = module.partition(".")[0]
    return {package: package_hash(package)}


@cache
def package_hash(package: str) -> str:
    """Hash of the source, template and compiled files of an installed top-level package, once a process.

    Built-in components are left out: each has its own hash. Raises ComponentError for an unknown package.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ComponentError("program entry", expected="an installed package", got=repr(package))
    root = Path(found.origin)
    if found.submodule_search_locations is None:
        return hash_file(root)
    folder = root.parent
    return content_hash(
        {
            path.relative_to(folder).as_posix(): hash_file(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in _CODE and path.relative_to(folder).parts[0] != "components"
        }
    )
