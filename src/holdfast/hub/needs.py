"""What programs need, satisfied for one run: software detected, packages installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from holdfast.core.errors import ComponentError
from holdfast.core.paths import home
from holdfast.core.result import ComponentRef
from holdfast.hub.component import Component
from holdfast.hub.hashes import FileHashes
from holdfast.hub.kinds import Need, Program
from holdfast.hub.resolution import Candidate, Choices, Resolved, resolve

VARIABLE = "HOLDFAST_NEED_"


@dataclass(frozen=True)
class Satisfied:
    """What a need became: software or a package by version and hash, and where it lies here."""

    id: str
    version: str
    hash: str | None
    path: Path
    provides: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def facet(self) -> dict[str, str | None]:
        """What counts for a result: never the path."""
        return {"id": self.id, "version": self.version, "hash": self.hash}

    def to_json(self) -> dict[str, Any]:
        """The facet and the path, for ``run.json``."""
        return {**self.facet(), "path": str(self.path)}


class Locked(Protocol):
    """What a lock says of the needs of a program."""

    def pins(self, program: str) -> dict[str, str]:
        """The one version or hash that may be used, by id."""
        ...

    def choices(self, program: str) -> dict[str, str]:
        """The id that each need became, by the need's name."""
        ...


class Needs:
    """Satisfies the needs of programs, each once.

    ``software`` are the user's choices; a ``locked`` says for each program what it may use, by id, and what
    its needs became, by name. ``project`` is the repository that goes before the others.
    """

    def __init__(
        self,
        hashes: FileHashes,
        *,
        software: Choices | None = None,
        locked: Locked | None = None,
        project: Path | None = None,
    ) -> None:
        self.hashes, self.software, self.locked, self.project = hashes, software or {}, locked, project
        self._resolved: dict[Path, Resolved] = {}

    def resolved(self, program: Component) -> Resolved:
        """The choice of software and packages for ``program``. Raises ComponentError, UsageError."""
        if program.folder not in self._resolved:
            needs = program.meta.needs if isinstance(program.meta, Program) else {}
            locked = self.locked
            own = None if program.repository in ("user", "built-in") else program.root
            self._resolved[program.folder] = (
                resolve(
                    needs,
                    program.id,
                    choices={**(locked.choices(program.id) if locked else {}), **self.software},
                    pins=locked.pins(program.id) if locked else None,
                    project=self.project or own,
                )
                if needs
                else Resolved({})
            )
        return self._resolved[program.folder]

    def satisfy(self, program: Component, tell: Callable[[str], None]) -> dict[str, Satisfied]:
        """Every need of ``program`` that is satisfied, by name; packages are installed, without the network.

        Raises ComponentError for what cannot be resolved, and what ``packages.install`` raises.
        """
        resolved = self.resolved(program)
        if resolved.packages:
            from holdfast.hub.packages import install

            for item in resolved.packages:
                if item.component.meta.yanked:
                    tell(f"{item.id} {item.version} is yanked: {item.component.meta.yanked}")
                install(item.component, offline=True, tell=tell)
        return self.forecast(program)

    def forecast(self, program: Component) -> dict[str, Satisfied]:
        """Like ``satisfy``, changing nothing. Raises ComponentError for a package that is not installed."""
        chosen = self.resolved(program).chosen
        return {name: self._satisfied(item) for name, item in chosen.items()}

    def further_packages(self, program: Component) -> list[Satisfied]:
        """Packages that what ``program`` needs needs in its turn."""
        resolved = self.resolved(program)
        named = {item.id for item in resolved.chosen.values()}
        return [self._satisfied(item) for item in resolved.packages if item.id not in named]

    def _satisfied(self, item: Candidate) -> Satisfied:
        if item.found is not None:
            found = item.found
            environment = dict(found.environment)
            return Satisfied(item.id, found.version, found.binary_hash, found.path, environment=environment)
        from holdfast.hub.packages import installed

        package = installed(item.component, self.hashes)
        if package is None:
            raise ComponentError(
                item.id, expected="to be installed", got="not installed", remedy=f"holdfast install {item.id}"
            )
        return Satisfied(item.id, item.version, package.hash, package.folder, package.provides)


def packages_of(
    component: Component, *, software: Choices | None = None, project: Path | None = None
) -> list[Component]:
    """All packages that ``component`` needs, each after those it needs itself; of a package, itself last.

    Raises ComponentError, UsageError.
    """
    found: dict[str, Component] = {}
    if component.kind == "package":
        need = Need(uses=f"package:{component.name}", versions=f"=={component.meta.version}")
        resolved = [resolve({"it": need}, "the user", choices=software, project=project)]
    elif component.kind == "soft":
        return []
    else:
        from holdfast.hub.workflow import load

        with closing(FileHashes(home() / "hashes.sqlite")) as hashes:
            needs = Needs(hashes, software=software, project=project)
            resolved = [needs.resolved(step.program) for step in load(component, project=project).steps]
    for each in resolved:
        found.update({f"{item.id}@{item.version}": item.component for item in each.packages})
    return list(found.values())


def variables(satisfied: Mapping[str, Satisfied]) -> dict[str, str]:
    """Variables that a step gets: what software asks for, and ``HOLDFAST_NEED_<NAME>[_<OUTPUT>]``."""
    found: dict[str, str] = {}
    for name, item in satisfied.items():
        found.update(item.environment)
        found[VARIABLE + name.upper()] = str(item.path)
        for output, path in item.provides.items():
            found[f"{VARIABLE}{name.upper()}_{output.upper()}"] = str(path)
    return found


def place(satisfied: Mapping[str, Satisfied], name: str) -> str:
    """What ``{needs.NAME}`` or ``{needs.NAME.OUTPUT}`` stands for; nothing for an absent optional need.

    ``name`` is what follows ``needs.``. Raises ComponentError for an output that is not provided.
    """
    need, _, output = name.partition(".")
    item = satisfied.get(need)
    if item is None:
        return ""
    if not output:
        return str(item.path)
    if output not in item.provides:
        raise ComponentError(
            f"{{needs.{name}}}",
            expected=f"one of {', '.join(item.provides) or 'nothing'}, which {item.id} provides",
            got=output,
        )
    return str(item.provides[output])


def software(satisfied: Mapping[str, Satisfied]) -> dict[str, str]:
    """Name and version of the software among ``satisfied``, as records carry them."""
    return {i.id.partition(":")[2]: i.version for i in satisfied.values() if i.id.startswith("soft:")}


def components(satisfied: Mapping[str, Satisfied]) -> dict[str, ComponentRef]:
    """Version and content hash of the packages among ``satisfied``, as records carry them."""
    return {
        item.id: ComponentRef(version=item.version, hash=item.hash or "")
        for item in satisfied.values()
        if item.id.startswith("package:")
    }
