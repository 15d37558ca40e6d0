"""Locks: everything that a run of a component rests on, by version and hash, and what has drifted from it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from holdfast.core import environment
from holdfast.core.errors import ComponentError, HoldfastError, UsageError
from holdfast.core.paths import home, write_json
from holdfast.hub import key as keys
from holdfast.hub.component import Component, described
from holdfast.hub.distributions import distributions, version_of
from holdfast.hub.hashes import FileHashes
from holdfast.hub.inputs import Model
from holdfast.hub.kinds import Program
from holdfast.hub.needs import Needs, Satisfied
from holdfast.hub.repository import find
from holdfast.hub.resolution import Choices
from holdfast.hub.workflow import Plan, load

FILE: Final = "holdfast.lock.json"
SCHEMA: Final = "holdfast.lock/1"


class DriftError(HoldfastError):
    """What a run would use is not what its lock says."""

    exit_code = 9


class PinnedComponent(Model):
    """A component by version, UID and content hash."""

    version: str
    uid: str
    hash: str


class PinnedNeed(Model):
    """What a need became: ``id`` (``soft:gcc``, ``package:mnist``), version, hash of binary or content."""

    id: str
    version: str
    hash: str | None


class Lock(Model):
    """A ``holdfast.lock.json``. It holds no path of this machine but those of inputs outside its folder.

    ``components``: the component, the programs of its steps, and the recipes of what they need. ``code``:
    hashes of the Python packages that hold entries. ``inputs`` as given, and the hash of each file and named
    data set among all inputs in ``files``. ``needs``: for each program, what its needs became; further
    packages under their own id. ``platform`` must agree; ``machine`` only tells where the lock was made.
    """

    schema_: Literal["holdfast.lock/1"] = Field(default=SCHEMA, alias="schema")
    component: str
    components: dict[str, PinnedComponent]
    code: dict[str, str]
    inputs: dict[str, Any]
    files: dict[str, Any]
    needs: dict[str, dict[str, PinnedNeed]]
    python: str
    distributions: dict[str, str]
    platform: dict[str, str]
    machine: dict[str, str | int]

    def pins(self, program: str) -> dict[str, str]:
        """The one version (of a package) or hash (of software) that ``program`` may use, by id."""
        return {
            item.id: item.version if item.id.startswith("package:") else item.hash or item.version
            for item in self.needs.get(program, {}).values()
        }

    def versions(self) -> dict[str, str]:
        """The version of each component, by id."""
        return {name: item.version for name, item in self.components.items()}

    def choices(self, program: str) -> dict[str, str]:
        """What each need of ``program`` became, by the need's name."""
        return {name: item.id for name, item in self.needs.get(program, {}).items()}


@dataclass(frozen=True)
class Drift:
    """One thing that is not as locked."""

    what: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, got {self.got}"


def pin(
    component: Component | str,
    inputs: Mapping[str, Any] | None = None,
    *,
    software: Choices | None = None,
    project: Path | None = None,
) -> Lock:
    """The lock of ``component`` on ``inputs`` as things are now: what is needed is resolved and installed.

    Packages are installed without the network. Raises what ``run`` raises before its first step.
    """
    found = find(component, project=project) if isinstance(component, str) else component
    plan = load(found, project=project)
    values = plan.resolve(inputs or {})
    programs = _programs(plan)
    with closing(FileHashes(home() / "hashes.sqlite")) as hashes:
        needs = Needs(hashes, software=software, project=project)
        pinned = {item.id: _pinned_needs(needs, item) for item in programs}
        return Lock(
            component=found.id,
            components={
                item.id: PinnedComponent(version=item.meta.version, uid=item.uid, hash=item.hash)
                for item in [found, *programs, *_recipes(pinned, project)]
            },
            code=_code(programs),
            inputs={name: values[name] for name in inputs or {}},
            files=_files(plan, values, hashes),
            needs={program: items for program, items in pinned.items() if items},
            python=platform.python_version(),
            distributions=distributions(item.folder for item in programs),
            platform=_platform(),
            machine=environment.machine(),
        )


def write(made: Lock, path: Path) -> None:
    """Write a lock; paths of inputs below its folder become relative, so that the folder can move."""
    data = made.model_dump(mode="json", by_alias=True)
    root = path.absolute().parent
    data["inputs"] = {name: _relative(value, root) for name, value in data["inputs"].items()}
    write_json(path, data)


def read(path: Path) -> Lock:
    """Read a lock. Raises UsageError for a file that is none."""
    try:
        made = Lock.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(
            str(path), expected="a lock", got="no such file", remedy="make one: holdfast lock COMPONENT"
        ) from error
    except (OSError, ValueError, ValidationError) as error:
        raise UsageError(str(path), expected=f"a {SCHEMA} file", got=str(error).splitlines()[0]) from error
    root = path.absolute().parent
    inputs = {name: _absolute(value, root) for name, value in made.inputs.items()}
    return made.model_copy(update={"inputs": inputs})


def enforce(made: Lock, plan: Plan, inputs: Mapping[str, Any], needs: Needs) -> None:
    """Install what ``plan`` needs. Raises DriftError that names everything that is not as locked."""
    if plan.component.id != made.component:
        raise UsageError("lock", expected=f"one of {plan.component.id}", got=f"one of {made.component}")
    drifted = drift(made, plan, inputs, needs)
    if drifted:
        listed = "; ".join(map(str, drifted))
        raise DriftError(
            f"{made.component} has drifted from its lock: {listed}",
            remedy="restore what changed, or lock anew",
        )


def drift(made: Lock, plan: Plan, inputs: Mapping[str, Any], needs: Needs) -> list[Drift]:
    """Everything in which a run of ``plan`` on ``inputs`` would differ from the lock."""
    programs = _programs(plan)
    found = _component_drift(made, [plan.component, *programs])
    for package, digest in _code(programs).items():
        if made.code.get(package) != digest:
            found.append(Drift(f"code of {package}", _short(made.code.get(package)), _short(digest)))
    found += _changed("file", made.files, _files(plan, inputs, needs.hashes))
    for program in programs:
        found += _need_drift(made, program, needs)
    if made.python != platform.python_version():
        found.append(Drift("python", made.python, platform.python_version()))
    for name, version in made.distributions.items():
        if (now := version_of(name)) != version:
            found.append(Drift(name, version, now or "not installed"))
    return found + _changed("platform", made.platform, _platform())


def _component_drift(made: Lock, components: list[Component]) -> list[Drift]:
    found = []
    for item in components:
        pinned = made.components.get(item.id)
        if pinned is None:
            found.append(Drift(item.id, "not to take part", item.meta.version))
        elif pinned.uid != item.uid:
            found.append(Drift(item.id, f"uid {pinned.uid}", f"uid {item.uid}"))
        elif (pinned.version, pinned.hash) != (item.meta.version, item.hash):
            before, now = pinned.version, item.meta.version
            if before == now:
                before, now = f"{before} ({_short(pinned.hash)})", f"{now} ({_short(item.hash)})"
            found.append(Drift(item.id, before, now))
    return found


def _need_drift(made: Lock, program: Component, needs: Needs) -> list[Drift]:
    """What of the needs of ``program`` cannot be had as locked; packages are installed on the way."""
    pinned = made.needs.get(program.id, {})
    try:
        now = _pinned_needs(needs, program)
    except ComponentError as error:
        found = [item for pin in pinned.values() if (item := _software_drift(pin)) is not None]
        return found or [Drift(f"needs of {program.id}", "what the lock names", str(error))]
    return [
        Drift(pinned[name].id if name in pinned else name, _said(pinned.get(name)), _said(now.get(name)))
        for name in dict.fromkeys([*pinned, *now])
        if pinned.get(name) != now.get(name)
    ]


def _software_drift(pin: PinnedNeed) -> Drift | None:
    if not pin.id.startswith("soft:"):
        return None
    from holdfast.hub.detection import detect

    there = detect(find(pin.id))
    if any((item.version, item.binary_hash) == (pin.version, pin.hash) for item in there):
        return None
    listed = ", ".join(f"{item.version} ({_short(item.binary_hash)}) at {item.path}" for item in there)
    return Drift(pin.id, _said(pin), listed or "none found")


def _pinned_needs(needs: Needs, program: Component) -> dict[str, PinnedNeed]:
    satisfied = needs.satisfy(program, lambda _: None)
    named = {name: _pinned(item) for name, item in satisfied.items()}
    inner = needs.further_packages(program)
    return {**named, **{item.id: _pinned(item) for item in inner}}


def _pinned(item: Satisfied) -> PinnedNeed:
    return PinnedNeed(id=item.id, version=item.version, hash=item.hash)


def _programs(plan: Plan) -> list[Component]:
    programs = {step.program.id: step.program for step in plan.steps}
    return [item for item in programs.values() if item.id != plan.component.id] or [plan.component]


def _recipes(pinned: Mapping[str, Mapping[str, PinnedNeed]], project: Path | None) -> list[Component]:
    ids = {item.id: item for items in pinned.values() for item in items.values()}
    return [
        find(f"{name}@=={item.version}" if name.startswith("package:") else name, project=project)
        for name, item in sorted(ids.items())
    ]


def _code(programs: list[Component]) -> dict[str, str]:
    return {
        package: digest
        for item in programs
        for package, digest in keys.code(described(item, Program)).items()
    }


def _files(plan: Plan, values: Mapping[str, Any], hashes: FileHashes) -> dict[str, Any]:
    """Hashes of the files that inputs name, by input; those of a package where a source is its name."""
    declared = {**plan.component.inputs, **plan.exposed}
    given = {name: (declared[name], value) for name, value in values.items() if name in declared}
    for step in plan.steps:
        inputs = step.program.inputs
        given |= {f"{step.id}.{name}": (inputs[name], wire) for name, wire in step.wires.items()}
    found: dict[str, list[str]] = {}
    for name, (item, value) in given.items():
        if isinstance(value, dict):
            continue  # a reference: what it leads to is looked at there
        paths = keys.named_paths(item.type, value)
        if paths is not None:
            found[name] = [hashes.path(path) for path in paths]
        elif item.type == "source" and isinstance(value, str) and (digest := _named_data(value, hashes)):
            found[name] = [digest]
    return found


def _named_data(name: str, hashes: FileHashes) -> str | None:
    """The content hash of the data that ``name`` means: those of the package of that name."""
    from holdfast.hub.packages import installed

    with suppress(HoldfastError):
        package = installed(find(f"package:{name}"), hashes)
        return package.hash if package else None
    return None


def _platform() -> dict[str, str]:
    return {"system": platform.system(), "machine": platform.machine()}


def _changed(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Drift]:
    return [
        Drift(f"{what} {name}", _short(old.get(name)), _short(new.get(name)))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _said(item: PinnedNeed | None) -> str:
    return "none" if item is None else f"{item.version} ({_short(item.hash)})"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 else text


def _relative(value: Any, root: Path) -> Any:
    if isinstance(value, list):
        return [_relative(item, root) for item in value]
    if isinstance(value, str) and Path(value).is_absolute() and Path(value).is_relative_to(root):
        return {"path": Path(value).relative_to(root).as_posix()}
    return value


def _absolute(value: Any, root: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(item, root) for item in value]
    if isinstance(value, dict) and set(value) == {"path"}:
        return str(root / value["path"])
    return value
