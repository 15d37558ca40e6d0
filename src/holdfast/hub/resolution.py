"""Resolution: which installed software and which packages together satisfy everything that is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import Need, Package, Program
from holdfast.hub.repository import find, list_components, search

if TYPE_CHECKING:
    from holdfast.hub.detection import Found

Detector = Callable[[Component], "list[Found]"]
Choices = Mapping[str, str]
"""What the user chose, by the name of a need or of software: a path, a version, or ``soft:name``."""


@dataclass(frozen=True)
class Requirement:
    """``who`` wants ``id`` (``soft:gcc``, ``package:mnist``) in a version in ``versions``."""

    id: str
    versions: SpecifierSet
    who: str

    def __str__(self) -> str:
        return f"{self.who} wants {self.id} {self.versions}".rstrip()


@dataclass(frozen=True)
class Candidate:
    """One way to satisfy a requirement: software as found, or a version of a package."""

    component: Component
    version: str
    found: Found | None = None

    @property
    def id(self) -> str:
        """``soft:name`` or ``package:name``."""
        return self.component.id

    @property
    def hash(self) -> str | None:
        """The hash of the software's binary."""
        return self.found.binary_hash if self.found else None

    @cached_property
    def parsed(self) -> Version:
        """The version, comparable: what of it follows PEP 440."""
        return parse(self.version)

    def fits(self, versions: SpecifierSet) -> bool:
        """Whether the version is in the range. A yanked package has to be named exactly."""
        if self.component.meta.yanked and self.component.kind == "package" and not _exact(versions):
            return False
        return versions.contains(self.parsed, prereleases=True)

    def __str__(self) -> str:
        where = f" at {self.found.path}" if self.found else f" in {self.component.repository}"
        yanked = f", yanked: {self.component.meta.yanked}" if self.component.meta.yanked else ""
        return f"{self.version}{where}{yanked}"


@dataclass(frozen=True)
class Resolved:
    """The choice for every need by its name (an optional one without candidate is left out).

    ``packages`` are all packages to install, each after those it needs; ``inner`` are, for each of them, the
    choices for its own needs.
    """

    chosen: dict[str, Candidate]
    packages: list[Candidate] = field(default_factory=list)
    inner: dict[str, dict[str, Candidate]] = field(default_factory=dict)


def parse(version: str) -> Version:
    """The part of ``version`` that PEP 440 can compare: 12.2.0 of "12.2.0-14ubuntu1"; 0 if there is none."""
    try:
        return Version(version)
    except InvalidVersion:
        match = re.match(r"\D*(\d+(?:\.\d+)*)", version)
        return Version(match[1] if match else "0")


def resolve(
    needs: Mapping[str, Need],
    who: str,
    *,
    detector: Detector | None = None,
    choices: Choices | None = None,
    pins: Mapping[str, str] | None = None,
    project: Path | None = None,
) -> Resolved:
    """Choose software and packages for ``needs`` of ``who``, and for what those packages need themselves.

    Packages: the highest version in every range, lower ones where that conflicts. Software: what is found on
    this machine (by ``detector``); several that fit are an error with the list unless ``choices`` names one.
    ``pins`` maps ids to the one version or binary hash that a lock allows. Raises ComponentError that says
    who wanted what and what there was, for a conflict, an ambiguity, something missing, or a cycle.
    """
    from resolvelib import BaseReporter, ResolutionImpossible, Resolver

    provider = _Provider(detector or _detected, choices or {}, pins or {}, project)

    def attempt(names: Sequence[str]) -> Mapping[str, Candidate]:
        requirements = [provider.requirement(name, needs[name], who) for name in names]
        resolver: Any = Resolver(cast(Any, provider), BaseReporter())
        result: Mapping[str, Candidate] = resolver.resolve(requirements).mapping
        return result

    names = [name for name, need in needs.items() if not need.optional]
    try:
        mapping = attempt(names)
    except ResolutionImpossible as error:
        raise provider.conflict(cause.requirement for cause in error.causes) from None
    for name in (name for name, need in needs.items() if need.optional):
        try:
            mapping = attempt([*names, name])
        except (ResolutionImpossible, ComponentError, UsageError):
            continue
        names.append(name)
    order = _ordered(mapping, provider)
    provider.refuse_ambiguity(mapping, [provider.requirement(name, needs[name], who) for name in names])
    inner = {
        item.id: {
            name: mapping[target]
            for name, need in _needs(item.component).items()
            if (target := provider.target(name, need, item.id)) in mapping
        }
        for item in order
    }
    chosen = {name: mapping[provider.target(name, needs[name], who)] for name in names}
    return Resolved(chosen, order, inner)


class _Provider:
    """What resolvelib asks: candidates of an id, and what a candidate needs in its turn."""

    def __init__(
        self, detector: Detector, choices: Choices, pins: Mapping[str, str], project: Path | None
    ) -> None:
        self.detector, self.choices, self.pins, self.project = detector, choices, pins, project
        self._candidates: dict[str, list[Candidate]] = {}
        self._targets: dict[tuple[str, str], str] = {}

    def requirement(self, name: str, need: Need, who: str) -> Requirement:
        """The requirement that the need ``name`` of ``who`` means."""
        return Requirement(self.target(name, need, who), SpecifierSet(need.versions), who)

    def target(self, name: str, need: Need, who: str) -> str:
        """The id that a need means: its own, or that of the one component with its tags that can be had."""
        if need.uses is not None:
            return need.uses
        if (who, name) not in self._targets:
            self._targets[who, name] = self._by_tags(name, need, who)
        return self._targets[who, name]

    def candidates(self, target: str) -> list[Candidate]:
        """All candidates of an id, the highest version first, narrowed to the pin or to the user's choice."""
        if target not in self._candidates:
            self._candidates[target] = self._narrowed(target, self._all(target))
        return self._candidates[target]

    def conflict(self, causes: Iterable[Requirement]) -> ComponentError:
        """The error for requirements that nothing satisfies together."""
        wanted = list(dict.fromkeys(causes))
        ids = list(dict.fromkeys(cause.id for cause in wanted))
        there = "; ".join(
            f"{target}: {', '.join(map(str, self._all(target))) or 'none found'}"
            + (f" (locked: {self.pins[target]})" if target in self.pins else "")
            for target in ids
        )
        return ComponentError(
            "needs cannot be satisfied together" if len(wanted) > 1 else "a need cannot be satisfied",
            expected="; ".join(map(str, wanted)),
            got=there,
            remedy="install what is missing, or widen a range",
        )

    def refuse_ambiguity(self, mapping: Mapping[str, Candidate], roots: list[Requirement]) -> None:
        """Raise ComponentError where more than one installation of software fits all who want it."""
        wanted = [*roots, *(need for item in mapping.values() for need in self.get_dependencies(item))]
        for target, chosen in mapping.items():
            ranges = [item.versions for item in wanted if item.id == target]
            fitting = [
                item for item in self.candidates(target) if all(item.fits(versions) for versions in ranges)
            ]
            if chosen.found is not None and len(fitting) > 1:
                name, first = target.partition(":")[2], fitting[0].found
                who = " and ".join(item.who for item in wanted if item.id == target)
                raise ComponentError(
                    f"{target} is ambiguous",
                    expected=f"one installation in the range of {who}",
                    got="; ".join(map(str, fitting)),
                    remedy=f"choose one: --software {name}={first.path if first else ''}",
                )

    # What resolvelib calls.
    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        return requirement_or_candidate.id

    def get_preference(self, identifier: str, *_: Any, **__: Any) -> tuple[bool, str]:
        # Packages first: all that is wanted of software is known then.
        return (identifier.startswith("soft:"), identifier)

    def narrow_requirement_selection(self, identifiers: Iterable[str], *_: Any, **__: Any) -> Iterable[str]:
        return identifiers

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> list[Candidate]:
        wanted, excluded = list(requirements[identifier]), list(incompatibilities[identifier])
        return [
            item
            for item in self.candidates(identifier)
            if item not in excluded and all(self.is_satisfied_by(need, item) for need in wanted)
        ]

    def is_satisfied_by(self, requirement: Requirement, candidate: Candidate) -> bool:
        return candidate.id in self.pins or candidate.fits(requirement.versions)

    def get_dependencies(self, candidate: Candidate) -> list[Requirement]:
        who = f"{candidate.id} {candidate.version}"
        return [
            self.requirement(name, need, who)
            for name, need in _needs(candidate.component).items()
            if not need.optional
        ]

    def _all(self, target: str) -> list[Candidate]:
        kind, _, name = target.partition(":")
        if kind == "soft":
            component = find(target, project=self.project)
            found = [Candidate(component, item.version, item) for item in self.detector(component)]
        else:
            versions = [c for c in list_components(kind, project=self.project) if c.name == name]
            if len({component.uid for component in versions}) != 1:
                find(target, project=self.project)  # refuses what is unknown or ambiguous, in words
            root = versions[0].root
            found = [Candidate(c, c.meta.version) for c in versions if c.root == root]
        return sorted(found, key=lambda item: item.parsed, reverse=True)

    def _narrowed(self, target: str, found: list[Candidate]) -> list[Candidate]:
        pin = self.pins.get(target)
        if pin is not None:
            return [item for item in found if pin in (item.version, item.hash)]
        choice = self.choices.get(target.partition(":")[2], self.choices.get(target))
        if choice is None:
            return found
        named = [item for item in found if _is(item, choice)]
        if not named:
            raise UsageError(
                f"--software {target.partition(':')[2]}={choice}",
                expected=f"one of {'; '.join(map(str, found)) or 'none found'}",
                got=choice,
            )
        return named

    def _by_tags(self, name: str, need: Need, who: str) -> str:
        tags, versions = ", ".join(need.tags), SpecifierSet(need.versions)
        fitting = sorted(
            {
                component.id
                for kind in ("soft", "package")
                for component in search(kind=kind, tags=need.tags, project=self.project)
            }
        )
        choice = self.choices.get(name)
        if choice in fitting:
            return str(choice)
        there = [target for target in fitting if any(item.fits(versions) for item in self.candidates(target))]
        pinned = [target for target in there if target in self.pins]
        there = pinned or there
        if len(there) == 1:
            return there[0]
        if there:
            listed = "; ".join(f"{target} {self.candidates(target)[0]}" for target in there)
            raise ComponentError(
                f"need {name!r} of {who} is ambiguous",
                expected=f"one component with the tags {tags}",
                got=listed,
                remedy=f"choose one: --software {name}={there[0]}",
            )
        raise ComponentError(
            f"need {name!r} of {who}",
            expected=f"a component with the tags {tags} {versions}".rstrip(),
            got=", ".join(f"{target}, not found here" for target in fitting) or "none",
        )


def _detected(component: Component) -> list[Found]:
    from holdfast.hub.detection import detect

    return detect(component)


def _needs(component: Component) -> dict[str, Need]:
    """What a package needs, and what the program that makes it needs."""
    if not isinstance(component.meta, Package):
        return {}
    needs = dict(component.meta.needs)
    if component.meta.generate is not None:
        own = None if component.repository in ("user", "built-in") else component.root
        program = described(find(component.meta.generate.uses, project=own), Program)
        needs.update({f"{component.meta.generate.uses}.{name}": need for name, need in program.needs.items()})
    return needs


def _exact(versions: SpecifierSet) -> bool:
    return any(item.operator in ("==", "===") and not item.version.endswith(".*") for item in versions)


def _is(item: Candidate, choice: str) -> bool:
    """Whether the user's ``choice`` (a path or a version) names this candidate."""
    if choice == item.version or item.found is None:
        return choice == item.version
    path = Path(choice).expanduser()
    names = {str(item.found.path), str(item.found.real), *item.found.also}
    return str(path) in names or (path.exists() and path.resolve() == item.found.real.resolve())


def _ordered(mapping: Mapping[str, Candidate], provider: _Provider) -> list[Candidate]:
    """Packages, each after those it needs. Raises ComponentError for a cycle."""
    order: dict[str, Candidate] = {}

    def visit(target: str, path: tuple[str, ...]) -> None:
        if target in path:
            cycle = " -> ".join([*path[path.index(target) :], target])
            raise ComponentError("packages need each other", expected="no cycle", got=cycle)
        item = mapping[target]
        if target in order or item.found is not None:
            return
        for need in provider.get_dependencies(item):
            visit(need.id, (*path, target))
        order[target] = item

    for target in mapping:
        visit(target, ())
    return list(order.values())
