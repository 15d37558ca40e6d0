"""Repositories of components, in order: the project's, the user's, pulled ones, the built-in one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import holdfast
from holdfast.core.errors import ComponentError, UnknownNameError
from holdfast.core.paths import home
from holdfast.hub import component as components
from holdfast.hub import pulled, spec
from holdfast.hub.component import FILE, Component
from holdfast.hub.kinds import KINDS


@dataclass(frozen=True)
class Repository:
    """A named folder of ``<kind>/<name>/`` (further versions: ``<kind>/<name>@<version>/``).

    One that is not ``trusted`` was pulled without consent: its components are found where no others fit, and
    never run. Repositories of CK, CM and MLC are read by ``foreign``.
    """

    name: str
    root: Path
    trusted: bool = True

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of which this repository may hold components, its own ones (``kind/<name>/``) last."""
        from holdfast.hub import foreign

        if foreign.form_of(self.root) is not None:
            return foreign.kinds(self.root)
        return (*KINDS, *(file.parent.name for file in sorted(self.root.glob(f"kind/[!.]*/{FILE}"))))

    def folders(self, kind: str | None = None, name: str | None = None) -> Iterator[Path]:
        """Folders that describe a component, sorted; of one kind or name if given."""
        from holdfast.hub import foreign

        if foreign.form_of(self.root) is not None:
            yield from foreign.folders(self.root, kind, name)
            return
        for each in self.kinds if kind is None else (kind,):
            patterns = ("[!.]*",) if name is None else (name, f"{name}@*")
            for pattern in patterns:
                yield from (file.parent for file in sorted((self.root / each).glob(f"{pattern}/{FILE}")))

    def load(self, folder: Path) -> Component:
        """Read and validate the component in ``folder``. Raises ComponentError."""
        from holdfast.hub import foreign

        if foreign.form_of(self.root) is not None:
            return foreign.load(folder, self.name, self.root)
        return components.load(folder, self.name, self.root)


@dataclass(frozen=True)
class Scan:
    """All readable components, and one error for each unreadable one and each UID that two names share."""

    components: list[Component]
    problems: list[ComponentError]


def repositories(project: Path | None = None) -> list[Repository]:
    """Repositories by precedence: ``project``, ``$HOLDFAST_REPO``, the user's, pulled ones, the built-in one.

    Pulled ones come in order of their names, and those without consent after all others.
    """
    given = [project] if project else []
    given += [
        Path(part).expanduser() for part in os.environ.get("HOLDFAST_REPO", "").split(os.pathsep) if part
    ]
    fetched = [Repository(one.name, one.root, one.consent is not None) for one in pulled.read_all()[0]]
    known = {repository.root: repository for repository in fetched}
    found = [known.get(path.resolve(), Repository("project", path.resolve())) for path in given]
    found.append(Repository("user", home() / "repo"))
    found += [repository for repository in fetched if repository.trusted]
    found.append(Repository("built-in", Path(holdfast.__file__).parent / "components"))
    found += [repository for repository in fetched if not repository.trusted]
    return list({repository.root: repository for repository in reversed(found)}.values())[::-1]


def known_kinds(project: Path | None = None) -> tuple[str, ...]:
    """The built-in kinds, and those that repositories add."""
    return tuple(dict.fromkeys(kind for each in repositories(project) for kind in (*KINDS, *each.kinds)))


def scan(kind: str | None = None, *, project: Path | None = None) -> Scan:
    """Read every component of every repository, in order of precedence, then of kind and name."""
    kinds = _checked_kinds(kind, project)
    found: list[Component] = []
    problems = pulled.read_all()[1]
    for repository in repositories(project):
        for each in kinds:
            for folder in repository.folders(each):
                try:
                    found.append(repository.load(folder))
                except ComponentError as error:
                    problems.append(error)
    return Scan(found, problems + _shared_uids(found))


def list_components(kind: str | None = None, *, project: Path | None = None) -> list[Component]:
    """All readable components, those shadowed by another repository included; see ``scan`` for the others."""
    return scan(kind, project=project).components


def search(
    text: str = "", *, kind: str | None = None, tags: Iterable[str] = (), project: Path | None = None
) -> list[Component]:
    """Components with all ``tags``, and every word of ``text`` in id, title, description or tags.

    The index says where to look; what is returned was read from the files now.
    """
    from holdfast.hub import index

    return [item.load() for item in index.listing(text, kind=kind, tags=tags, project=project)]


def find(text: str, *, project: Path | None = None) -> Component:
    """The one component that ``[repository:]kind:name[@range]`` or ``kind:uid[@range]`` means.

    The first repository that has a fitting version decides, and the highest version there (``@1.2.0``,
    ``@>=1.2,<2``); a yanked one is chosen only if it is named exactly, and what was pulled without consent
    only where nothing else has the name. Raises UnknownNameError; ComponentError where the answer would be a
    guess: components of one name with different UIDs, one version twice, one UID for two components.
    """
    wanted = spec.parse(text)
    _checked_kinds(wanted.kind, project)
    places = repositories(project)
    if wanted.repository is not None:
        places = [each for each in places if each.name == wanted.repository]
        if not places:
            raise UnknownNameError(
                "repository", wanted.repository, {each.name for each in repositories(project)}
            )
    candidates: list[Component] = []
    for trusted in (True, False):
        if not candidates:
            candidates = _candidates(wanted, [each for each in places if each.trusted == trusted], project)
    if not candidates:
        from holdfast.hub import index

        known = {item.id for item in index.listing(kind=wanted.kind, project=project)}
        raise UnknownNameError("component", f"{wanted.kind}:{wanted.name}", known)
    return spec.choose(wanted, candidates)


def _candidates(wanted: spec.Spec, places: list[Repository], project: Path | None) -> list[Component]:
    if wanted.is_uid:
        from holdfast.hub import index

        roots = {each.root for each in places}
        listed = index.listing(kind=wanted.kind, uid=wanted.name, project=project)
        return [item.load() for item in listed if item.repository.root in roots]
    if not wanted.is_name:  # it would be taken for a pattern of names
        return []
    return [each.load(folder) for each in places for folder in each.folders(wanted.kind, wanted.name)]


def _checked_kinds(kind: str | None, project: Path | None) -> tuple[str, ...]:
    if kind in KINDS:
        return (str(kind),)
    known = known_kinds(project)
    if kind is not None and kind not in known:
        raise UnknownNameError("kind", kind, known)
    return known if kind is None else (kind,)


def _shared_uids(found: list[Component]) -> list[ComponentError]:
    by_uid: dict[str, dict[str, Component]] = {}
    for component in found:
        by_uid.setdefault(component.uid, {}).setdefault(component.id, component)
    return [
        spec.ambiguous(f"uid {uid}", list(sharing.values()), "give one of them a new UID")
        for uid, sharing in by_uid.items()
        if len(sharing) > 1
    ]
