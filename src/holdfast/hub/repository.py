"""Repositories of components, in order: the project's, the user's, the built-in one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

import holdfast
from holdfast.core.errors import ComponentError, UnknownNameError, UsageError
from holdfast.core.paths import home
from holdfast.hub.component import FILE, Component, load
from holdfast.hub.kinds import KINDS, NAME

_UID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Repository:
    """A named folder of ``<kind>/<name>/`` (further versions: ``<kind>/<name>@<version>/``)."""

    name: str
    root: Path

    def folders(self, kind: str | None = None, name: str | None = None) -> Iterator[Path]:
        """Folders with a ``component.json``, sorted; of one kind or name if given."""
        for each in KINDS if kind is None else (kind,):
            patterns = ("*",) if name is None else (name, f"{name}@*")
            for pattern in patterns:
                yield from (file.parent for file in sorted((self.root / each).glob(f"{pattern}/{FILE}")))


@dataclass(frozen=True)
class Scan:
    """All readable components, and one error for each unreadable one."""

    components: list[Component]
    problems: list[ComponentError]


def repositories(project: Path | None = None) -> list[Repository]:
    """Repositories by precedence: ``project`` and ``$HOLDFAST_REPO``, the user's, the built-in one."""
    given = [project] if project else []
    given += [
        Path(part).expanduser() for part in os.environ.get("HOLDFAST_REPO", "").split(os.pathsep) if part
    ]
    found = [Repository("project", path.resolve()) for path in given]
    found.append(Repository("user", home() / "repo"))
    found.append(Repository("built-in", Path(holdfast.__file__).parent / "components"))
    return list({repository.root: repository for repository in reversed(found)}.values())[::-1]


def scan(kind: str | None = None, *, project: Path | None = None) -> Scan:
    """Read every component of every repository, in order of precedence, then of kind and name."""
    _check_kind(kind)
    components, problems = [], []
    for repository in repositories(project):
        for folder in repository.folders(kind):
            try:
                components.append(load(folder, repository.name, repository.root))
            except ComponentError as error:
                problems.append(error)
    return Scan(components, problems)


def list_components(kind: str | None = None, *, project: Path | None = None) -> list[Component]:
    """All readable components, those shadowed by another repository included; see ``scan`` for the others."""
    return scan(kind, project=project).components


def search(
    text: str = "", *, kind: str | None = None, tags: Iterable[str] = (), project: Path | None = None
) -> list[Component]:
    """Components with all ``tags``, and every word of ``text`` in id, title, description or tags."""
    words, wanted = text.lower().split(), set(tags)

    def matches(component: Component) -> bool:
        meta = component.meta
        haystack = " ".join((component.id, meta.title, meta.description, *meta.tags)).lower()
        return wanted.issubset(meta.tags) and all(word in haystack for word in words)

    return [component for component in list_components(kind, project=project) if matches(component)]


def find(spec: str, *, project: Path | None = None) -> Component:
    """The one component that ``kind:name[@range]`` or ``kind:uid[@range]`` means.

    The first repository that has the name decides, and the highest version there that satisfies the range
    (``@1.2.0``, ``@>=1.2,<2``). Raises UnknownNameError; ComponentError where the answer would be a guess:
    components of one name with different UIDs, one version twice, one UID for two components.
    """
    kind, name, versions = _parse(spec)
    if _UID.fullmatch(name):
        candidates = _by_uid(kind, name, project)
    elif not re.fullmatch(NAME, name):  # it would be taken for a pattern of names
        candidates = []
    else:
        candidates = [
            load(folder, repository.name, repository.root)
            for repository in repositories(project)
            for folder in repository.folders(kind, name)
        ]
    if not candidates:
        known = (f"{component.id}" for component in list_components(kind, project=project))
        raise UnknownNameError("component", f"{kind}:{name}", set(known))
    _refuse_ambiguity(spec, candidates)
    fitting = [
        component for component in candidates if versions.contains(component.version, prereleases=True)
    ]
    if not fitting:
        raise ComponentError(
            f"no version of {kind}:{name} satisfies {versions}",
            expected=str(versions),
            got=", ".join(f"{component.version} ({component.repository})" for component in candidates),
        )
    best = max((c for c in fitting if c.root == fitting[0].root), key=lambda component: component.version)
    twins = [c for c in fitting if c.root == best.root and c.version == best.version]
    if len(twins) > 1:
        raise _ambiguous(spec, twins, "give the versions different numbers or remove one")
    return best


def _parse(spec: str) -> tuple[str, str, SpecifierSet]:
    name, _, versions = spec.partition("@")
    kind, colon, name = name.partition(":")
    if not colon or not name:
        raise UsageError(
            "component", expected="kind:name[@range]", got=repr(spec), remedy="e.g. program:train"
        )
    _check_kind(kind)
    if versions[:1].isdigit():
        versions = f"=={versions}"
    try:
        return kind, name, SpecifierSet(versions)
    except InvalidSpecifier as error:
        raise UsageError(
            f"version range of {spec!r}", expected="a range such as >=1.2,<2", got=repr(versions)
        ) from error


def _check_kind(kind: str | None) -> None:
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)


def _by_uid(kind: str, uid: str, project: Path | None) -> list[Component]:
    return [component for component in list_components(kind, project=project) if component.uid == uid]


def _refuse_ambiguity(spec: str, candidates: list[Component]) -> None:
    if len({component.uid for component in candidates}) > 1:
        raise _ambiguous(spec, candidates, "name the one you mean by its UID, kind:uid")
    if len({component.id for component in candidates}) > 1:
        raise _ambiguous(spec, candidates, "give one of them a new UID")


def _ambiguous(spec: str, candidates: list[Component], remedy: str) -> ComponentError:
    listed = "; ".join(f"{c.id} {c.version} uid {c.uid} in {c.folder}" for c in candidates)
    return ComponentError(f"{spec} is ambiguous", expected="one component", got=listed, remedy=remedy)
