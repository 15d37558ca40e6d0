"""Checking components as a whole: description, wiring, entry points, and what a repository holds together."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from holdfast.core.errors import ComponentError, HoldfastError, UsageError
from holdfast.core.result import read_records
from holdfast.hub import custom, foreign, values, workflow
from holdfast.hub.component import FILE, Component
from holdfast.hub.kinds import (
    KINDS,
    Custom,
    Experiment,
    KindDefinition,
    Need,
    Package,
    Paper,
    Program,
    Soft,
    Workflow,
)
from holdfast.hub.packages.archives import form_of
from holdfast.hub.packages.making import file_name
from holdfast.hub.repository import Repository, find, search


@dataclass(frozen=True)
class Problem:
    """What is wrong, and in which file."""

    file: Path
    message: str

    def __str__(self) -> str:
        return self.message if self.message.startswith(str(self.file)) else f"{self.file}: {self.message}"


def validate(path: Path) -> list[Problem]:
    """Check one component (its folder or ``component.json``) or every component of a repository.

    Returns all problems, none if all is well. Raises UsageError if there is nothing to check.
    """
    path = path.expanduser().resolve()
    folder = path.parent if path.name == FILE else path
    if (folder / FILE).is_file():
        return _check(Repository("project", folder.parent.parent), folder)[1]
    repository = Repository("project", folder)
    folders = list(repository.folders())
    if not folders:
        raise UsageError(
            str(path),
            expected=f"a component or a repository of <kind>/<name>/{FILE}",
            got="none",
            remedy="check the path",
        )
    problems: list[Problem] = []
    by_uid: dict[str, Component] = {}
    for each in folders:
        component, found = _check(repository, each)
        problems += found
        if component is not None:
            other = by_uid.setdefault(component.uid, component)
            if other.id != component.id:
                message = f"uid {component.uid} is also that of {other.id}; give one of them another"
                problems.append(Problem(each / FILE, message))
    return problems


def _check(repository: Repository, folder: Path) -> tuple[Component | None, list[Problem]]:
    root = repository.root
    file = folder / FILE
    is_foreign = foreign.form_of(root) is not None
    problems = [Problem(folder, text) for text in foreign.problems(folder, root)] if is_foreign else []
    try:
        component = repository.load(folder)
    except ComponentError as error:
        return None, problems or [Problem(folder if is_foreign else file, str(error))]
    if is_foreign:
        return component, problems
    try:
        match component.meta:
            case Program():
                _check_program(component, component.meta)
                _check_needs(component, component.meta.needs)
            case Package():
                _check_package(component, component.meta)
            case Workflow():
                workflow.load(component, project=root)
            case Paper():
                for claim in component.meta.claims:
                    if claim.workflow is not None:
                        find(claim.workflow, project=root)
            case Soft():
                if component.meta.detect.hook is not None:
                    hook, _, name = component.meta.detect.hook.partition(":")
                    _check_function(_existing(component, hook), name, None)
            case KindDefinition():
                _check_kind(component, component.meta)
            case Custom():
                custom.check_fields(component, project=root)
            case Experiment():
                read_records(_existing(component, component.meta.records))
    except HoldfastError as error:
        problems.append(Problem(file, str(error)))
    return component, problems


def _check_program(component: Component, program: Program) -> None:
    if program.entry.command is not None:
        for argument in program.entry.command:
            if argument.startswith("{here}/") and "{" not in argument[1:].replace("here}", "", 1):
                _existing(component, argument.removeprefix("{here}/"))
        return
    module, _, name = (program.entry.python or "").partition(":")
    source = _existing(component, module) if module.endswith(".py") else _module_file(module)
    _check_function(source, name, set(program.inputs))


def _check_package(component: Component, package: Package) -> None:
    """Its needs can be meant; its program exists and takes the inputs; archives have a name that tells."""
    _check_needs(component, package.needs)
    if package.generate is not None:
        program = find(package.generate.uses, project=component.root)
        given = values.coerce(program.inputs, package.generate.with_, program.id)
        values.complete(program.inputs, given, program.id, program.folder)
    for source in package.sources:
        if source.unpack and form_of(file_name(source.url)) is None:
            raise ComponentError(
                f"{component.id}: unpack", expected="an archive: tar, zip or gz", got=source.url
            )


def _check_needs(component: Component, needs: Mapping[str, Need]) -> None:
    """Each need means components that are there, whatever is installed."""
    for name, need in needs.items():
        if need.uses is not None:
            find(need.uses, project=component.root)
        elif not search(tags=need.tags, project=component.root):
            raise ComponentError(
                f"{component.id}: need {name!r}", expected="a component with all tags", got=need.tags
            )


def _module_file(module: str) -> Path:
    try:
        found = find_spec(module)
    except ImportError:
        found = None
    if found is None or found.origin is None:
        raise ComponentError("entry.python", expected="an installed module", got=repr(module))
    return Path(found.origin)


def _check_kind(component: Component, kind: KindDefinition) -> None:
    if kind.name in KINDS:
        raise ComponentError(component.id, expected="a name of its own", got="that of a built-in kind")
    wrong = [text for text in custom.schema_errors(kind.fields, {}) if text.startswith("no JSON Schema")]
    if wrong:
        raise ComponentError(f"{component.id}: fields", got=wrong[0])
    for name, program in kind.actions.items():
        found = find(program, project=component.root)
        if custom.COMPONENT_INPUT not in found.inputs:
            raise ComponentError(
                f"{component.id}: action {name!r}",
                expected=f"a program with an input {custom.COMPONENT_INPUT!r}",
                got=found.id,
            )


def _check_function(source: Path, name: str, declared: set[str] | None) -> None:
    """The function takes exactly the declared inputs, if they are. The source is read, not imported."""
    if source.suffix != ".py":
        return
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ComponentError("entry.python", expected="Python source", got=f"{source}: {error}") from error
    function = next(
        (item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == name), None
    )
    if function is None:
        raise ComponentError("entry.python", expected=f"a function {name!r} in {source}", got="none")
    if declared is None:
        return
    arguments = function.args
    taken = {item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} - {"out"}
    missing = taken - declared
    surplus = set() if arguments.kwarg else declared - taken
    if missing or surplus:
        raise ComponentError(
            f"entry.python: {name} takes other inputs than are declared",
            expected=", ".join(sorted(taken)) or "none",
            got=", ".join(sorted(declared)) or "none",
        )


def _existing(component: Component, name: str) -> Path:
    path = component.folder / name
    if not path.is_file():
        raise ComponentError(str(path), expected="a file of the component", got="no such file")
    return path
