"""A component's own checks: what it says must come out is compared with what does."""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.canonical import hash_path
from holdfast.core.errors import ComponentError, HoldfastError, StepError
from holdfast.core.result import Record
from holdfast.hub import custom, foreign
from holdfast.hub.component import Component
from holdfast.hub.kinds import Check, Custom, Expected, KindDefinition
from holdfast.hub.repository import find
from holdfast.hub.validation import validate

RUNS = ("program", "workflow", "paper")


@dataclass(frozen=True)
class Checked:
    """One check and what is wrong, nothing if it passed."""

    name: str
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """For display."""
        return {**asdict(self), "passed": self.passed}


def run_checks(
    component: Component | str, *, force: bool = True, project: Path | None = None
) -> list[Checked]:
    """Validate a component, then run its ``checks``, and the action ``test`` of a kind of a project's own.

    Checks run anew, unless not ``force``. What fails is told in the answer; errors are raised only for a
    component that cannot be found.
    """
    found = find(component, project=project) if isinstance(component, str) else component
    if foreign.form_of(found.root) is not None:
        return [Checked("valid", foreign.problems(found.folder, found.root))]
    checked = [Checked("valid", [str(problem) for problem in validate(found.folder)])]
    if not checked[0].passed:
        return checked
    checked += [_run(name, check, found, force, project) for name, check in found.meta.checks.items()]
    if isinstance(found.meta, Custom):
        kind = custom.definition(found, project=project).meta
        if isinstance(kind, KindDefinition) and "test" in kind.actions:
            checked.append(_act(found, project))
    return checked


def outcome(component: Component | str, *, force: bool = True) -> dict[str, Any]:
    """What ``run_checks`` found, as JSON. Raises StepError if a check failed, ComponentError if invalid."""
    found = find(component) if isinstance(component, str) else component
    checked = run_checks(found, force=force)
    wrong = [f"{check.name}: {text}" for check in checked for text in check.problems]
    if wrong:
        kind = ComponentError if not checked[0].passed else StepError
        raise kind(f"{found.id} fails its checks", got="\n  " + "\n  ".join(wrong))
    return {
        "component": found.id,
        "version": found.meta.version,
        "checks": [each.to_json() for each in checked],
    }


def _act(component: Component, project: Path | None) -> Checked:
    try:
        done = custom.act(component, "test", project=project)
    except HoldfastError as error:
        return Checked("test", [str(error)])
    return Checked("test", [], done.seconds)


def _run(name: str, check: Check, component: Component, force: bool, project: Path | None) -> Checked:
    from holdfast.hub.runner import run

    if component.kind not in RUNS:
        return Checked(name, [f"a {component.kind} does not run; leave 'checks' to programs and workflows"])
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
        out = Path(folder)
        try:
            done = run(component, _resolved(check.inputs, component), out=out, force=force, project=project)
        except HoldfastError as error:
            if error.exit_code == check.exit_code:
                return Checked(name)
            return Checked(name, [f"exit code {error.exit_code}, expected {check.exit_code}: {error}"])
        problems = []
        if check.exit_code != 0:
            problems.append(f"exit code 0, expected {check.exit_code}")
        for path, expected in check.outputs.items():
            problems += [f"output {path}: {text}" for text in _output(out / path, expected)]
        for metric, expected in check.metrics.items():
            problems += [f"metric {metric}: {text}" for text in _metric(metric, done.records, expected)]
        return Checked(name, problems, done.seconds)


def _resolved(inputs: dict[str, Any], component: Component) -> dict[str, Any]:
    """Paths of a check are relative to the component's folder."""
    return {
        name: str(component.folder / value)
        if name in component.inputs
        and component.inputs[name].type in ("path", "source")
        and isinstance(value, str)
        and (component.folder / value).exists()
        else value
        for name, value in inputs.items()
    }


def _output(path: Path, expected: Expected) -> list[str]:
    if not path.exists():
        return ["is missing"]
    problems = []
    if expected.sha256 is not None and (got := hash_path(path)) != expected.sha256:
        problems.append(f"sha256 {got}, expected {expected.sha256}")
    if expected.contains is not None and (
        not path.is_file() or expected.contains not in path.read_text(encoding="utf-8", errors="replace")
    ):
        problems.append(f"does not contain {expected.contains!r}")
    return problems


def _metric(name: str, records: list[Record], expected: Expected) -> list[str]:
    values = [record.value for record in records if record.metric == name and record.value is not None]
    if not values:
        return ["was not measured"]
    problems = []
    for value in values:
        if expected.value is not None and not math.isclose(
            value, expected.value, rel_tol=0.0, abs_tol=expected.tolerance
        ):
            problems.append(f"{value:g}, expected {expected.value:g} within {expected.tolerance:g}")
        if expected.minimum is not None and value < expected.minimum:
            problems.append(f"{value:g}, expected at least {expected.minimum:g}")
        if expected.maximum is not None and value > expected.maximum:
            problems.append(f"{value:g}, expected at most {expected.maximum:g}")
    return problems
