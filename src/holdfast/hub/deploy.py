"""Deployment: the run behind a chosen point, left as a folder that runs from anywhere."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.paths import atomic_folder, write_json, write_text
from holdfast.core.result import Record, write_records
from holdfast.hub import run_record
from holdfast.hub.inputs import PATH_TYPES
from holdfast.hub.key import named_paths
from holdfast.hub.repository import find
from holdfast.hub.workflow import Plan, load

_RUN = Path(__file__).parent / "templates" / "bundle_run.py"


def deploy(chosen: Sequence[Record], into: Path, *, rule: str, project: Path | None = None) -> Path:
    """Leave the run that made the records ``chosen`` in the new folder ``into``; return its path.

    The bundle holds ``files/`` (the workflow's outputs: models, binaries), ``config.json`` (component and
    every input), ``inputs/`` (files that inputs name), ``components/`` (all that are not built in),
    ``records.jsonl``, ``run.json``, ``holdfast.lock.json``, ``README.md`` and ``run.py``, which starts
    ``files/run.py`` or ``files/run`` where the workflow leaves one, and else runs the configuration again.
    Raises UsageError for records of no run that is kept, outputs that are no longer in the cache, or a folder
    that is not empty.
    """
    into = into.absolute()
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UsageError(
            "--deploy", expected="a new or empty folder", got=str(into), remedy="choose another place"
        )
    run = _run_of(chosen)
    component = find(f"{run['component']}@=={run['version']}", project=project)
    if component.hash != run["hash"]:
        raise UsageError(
            f"deploying {component.id}",
            expected=f"the version that was tuned ({run['hash'][:12]})",
            got=f"a changed one ({component.hash[:12]})",
            remedy="tune again",
        )
    plan = load(component, project=project)
    if into.exists():
        into.rmdir()
    with atomic_folder(into) as staging:
        names = _outputs(plan, run, staging / "files")
        inputs = _inputs(plan, run["inputs"], staging)
        _components(plan, staging / "components")
        config = {"component": component.id, "version": run["version"], "hash": run["hash"]}
        write_json(staging / "config.json", {**config, "inputs": inputs, "rule": rule, "run": run["id"]})
        write_json(staging / "run.json", run)
        write_records(staging / "records.jsonl", list(chosen))
        _lock(plan, inputs, staging)
        shutil.copyfile(_RUN, staging / "run.py")
        write_text(
            staging / "README.md",
            _readme(component.meta.title, {**run, "inputs": inputs}, chosen, rule, names),
        )
    return into


def _run_of(chosen: Sequence[Record]) -> dict[str, Any]:
    ids = {str(record.labels["run"]) for record in chosen if "run" in record.labels}
    if len(ids) != 1:
        raise UsageError(
            "--deploy", expected="a point that is one run", got=f"{len(ids)} runs",
            remedy="name the experiment of a study, tune-NAME",
        )  # fmt: skip
    (name,) = ids
    for file in run_record.experiments().glob(f"*/{name}/run.json"):
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    raise UsageError("--deploy", expected="a run that is kept", got=name, remedy="tune again")


def _outputs(plan: Plan, run: Mapping[str, Any], files: Path) -> list[str]:
    """Copy the declared outputs; without declared ones, all outputs of the last step."""
    made = {step["id"]: step["outputs"] for step in run["steps"]}
    wanted = {path: made.get(step, {}).get(name) for path, (step, name) in plan.outputs.items()}
    if not plan.outputs:
        last: dict[str, str] = next((outputs for outputs in reversed(list(made.values())) if outputs), {})
        wanted = {Path(path).name: path for path in last.values()}
    files.mkdir(parents=True)
    for name, path in wanted.items():
        if path is None:
            continue  # of a step that was skipped
        source, target = Path(path), files / name
        if not source.exists():
            raise UsageError(
                "--deploy", expected=f"the output {name} of run {run['id']}", got="none in the cache",
                remedy="run it again: the cache was cleared",
            )  # fmt: skip
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, target)
    return sorted(name for name, path in wanted.items() if path is not None)


def _inputs(plan: Plan, values: Mapping[str, Any], staging: Path) -> dict[str, Any]:
    """The inputs, with the files that they name copied and named relative to the bundle."""
    declared = {**plan.component.inputs, **plan.exposed}
    found = dict(values)
    for name, value in values.items():
        if value is None or declared[name].type not in PATH_TYPES:
            continue
        paths = named_paths(declared[name].type, value)
        if not paths:
            continue
        kept = []
        for index, path in enumerate(paths):
            target = staging / "inputs" / name / (path.name if len(paths) == 1 else f"{index}-{path.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, target)
            kept.append({"path": target.relative_to(staging).as_posix()})
        found[name] = kept[0] if len(kept) == 1 and declared[name].type != "paths" else kept
    return found


def _components(plan: Plan, folder: Path) -> None:
    for component in {item.id: item for item in [plan.component, *(s.program for s in plan.steps)]}.values():
        if component.repository != "built-in":
            target = folder / component.kind / component.name
            shutil.copytree(component.folder, target, ignore=shutil.ignore_patterns("__pycache__"))


def _lock(plan: Plan, inputs: Mapping[str, Any], staging: Path) -> None:
    from holdfast.hub import lock

    def there(value: Any) -> Any:
        if isinstance(value, list):
            return [there(item) for item in value]
        return str(staging / value["path"]) if isinstance(value, dict) and set(value) == {"path"} else value

    given = {name: there(value) for name, value in inputs.items()}
    lock.write(lock.pin(plan.component, given), staging / lock.FILE)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
        return
    shutil.copyfile(source, target)
    if source.stat().st_mode & stat.S_IXUSR:
        target.chmod(0o755)


def _readme(title: str, run: Mapping[str, Any], chosen: Sequence[Record], rule: str, names: list[str]) -> str:
    """What was chosen, why, and how to run it."""
    simulated = " (simulated data)" if any(record.simulated for record in chosen) else ""
    lines = [f"# {title}", "", f"Chosen by `{rule}` from what `{run['component']}` measured{simulated}."]
    lines += ["", "| metric | value | interval |", "|---|---|---|"]
    for record in chosen:
        ends = record.interval
        interval = "" if ends is None else f"{ends.low:.4g} to {ends.high:.4g}"
        value = "not measured" if record.value is None else f"{record.value:.4g}"
        lines.append(f"| {record.metric} | {value} {record.unit} | {interval} |")
    lines += ["", "Choices and other inputs:", "", "```json"]
    lines += [json.dumps(run["inputs"], indent=2), "```", ""]
    entry = next((name for name in ("run.py", "run") if name in names), None)
    if entry:
        lines.append(f"`python run.py ARGUMENTS` starts `files/{entry}` with them.")
    else:
        lines.append("`python run.py` runs this configuration again, into `results/`; it needs Holdfast.")
    lines.append("`python run.py --again` always does the latter, and `--locked` refuses what has changed.")
    lines += ["", "Files: " + ", ".join(f"`files/{name}`" for name in names), ""]
    return "\n".join(lines)
