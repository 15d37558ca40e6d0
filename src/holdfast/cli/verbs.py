"""What the verbs do: one library call each, and the printing of its answer."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

from holdfast.cli import arguments
from holdfast.cli.output import print_json, print_table
from holdfast.core.errors import ComponentError, UsageError

_FEW = 8
"""How many records are printed; more are left to their file."""


def load_builtin(kind: str, name: str) -> dict[str, Any]:
    """A shipped component's description as plain JSON: cheap enough for ``--help``."""
    import holdfast

    path = Path(holdfast.__file__).parent / "components" / kind / name / "component.json"
    loaded: dict[str, Any] = jsonlib.loads(path.read_text(encoding="utf-8"))
    return loaded


def components(kind: str | None) -> Iterable[Any]:
    """Components of one kind, or all."""
    from holdfast.hub import repository

    return repository.list_components(kind)


def search(text: str) -> Iterable[Any]:
    """Components that match ``text``."""
    from holdfast.hub import repository

    return repository.search(text)


def print_components(found: Iterable[Any], json: bool) -> None:
    """Print components as a table or as JSON."""
    found = list(found)
    if json:
        print_json([component.to_json() for component in found])
    elif found:
        rows = [(item.id, item.meta.version, item.repository, item.meta.title) for item in found]
        print_table(("component", "version", "repository", "title"), rows)
    else:
        print("nothing found; `holdfast list` shows everything", file=sys.stderr)


def show(target: str, json: bool) -> None:
    """Print one component."""
    from holdfast import hub

    component = hub.find(target)
    data = component.to_json()
    if json:
        print_json(data)
        return
    print(f"{component.id} {data['version']} — {data['title']}\n{data.get('description', '')}")
    print(f"uid {data['uid']}, hash {data['hash'][:16]}, in {data['folder']}\n")
    if data.get("inputs"):
        rows = [
            (
                f"--{name.replace('_', '-')}",
                item["type"],
                jsonlib.dumps(item.get("default")),
                item.get("description"),
            )
            for name, item in data["inputs"].items()
        ]
        print_table(("input", "type", "default", "meaning"), rows)
    if data.get("steps"):
        print()
        print_table(
            ("step", "uses", "does"), [(s["id"], s["uses"], s.get("title", "")) for s in data["steps"]]
        )
    if data.get("outputs"):
        print()
        outputs = [(name, item.get("path", item.get("from"))) for name, item in data["outputs"].items()]
        print_table(("output", "path or origin"), outputs)


def validate(path: Path, json: bool) -> None:
    """Print the problems of a component or repository; raise ComponentError if there are any."""
    from holdfast import hub

    problems = [str(problem) for problem in hub.validate(path)]
    if json and not problems:
        print_json({"path": str(path), "problems": []})
    elif problems:
        raise ComponentError(f"{path} is not valid", got="\n  " + "\n  ".join(problems))
    else:
        print(f"{path}: valid")


def _inputs(component: Any, words: Sequence[str]) -> dict[str, Any]:
    cli = getattr(component.meta, "cli", None)
    return arguments.parse(words, positional=cli.positional if cli else (), short=cli.short if cli else None)


def run(target: str, words: Sequence[str], *, out: Path | None, force: bool, json: bool) -> None:
    """Run a component, tell what happens on stderr, and print the outcome."""
    from holdfast import hub

    component = hub.find(target)
    finished = hub.run(
        component, _inputs(component, words), out=out, force=force, on_event=None if json else _tell
    )
    if json:
        print_json(
            {**finished.to_json(), "experiment": str(finished.folder), "out": str(out) if out else None}
        )
        return
    cached = sum(step.hit for step in finished.steps)
    steps, records = _count(finished.steps, "step"), _count(finished.records, "record")
    print(f"{steps} ({cached} from the cache), {finished.seconds:.1f} s; run {finished.id}")
    print(f"{records} in {out or finished.folder}")
    if len(finished.records) <= _FEW:
        _print_lines(map(_in_words, finished.records))
    for path in sorted((out or finished.folder).glob("*.html")):
        print(f"report: {path}")


def protect(
    words: Sequence[str], *, correct: bool, dry_run: bool, out: Path | None, force: bool, json: bool
) -> None:
    """Protect a model file: an ONNX file goes to ``out`` itself if that ends in .onnx, else into a folder."""
    from holdfast import hub

    inputs = _inputs(hub.find("program:protect"), words)
    model = Path(str(inputs.get("model", "")))
    onnx = model.suffix == ".onnx"
    if dry_run:
        _print_layers(model, json)
        return
    if not onnx:
        if out is not None and out.suffix == ".onnx":
            raise UsageError(
                "--out", expected="a folder", got=str(out), remedy="only an ONNX model becomes one"
            )
        if correct:
            raise UsageError("--correct", expected="an .onnx file", got=str(model), remedy="use --on-fault")
        run("program:protect", words, out=out, force=force, json=json)
        return
    words = [*words, f"--correct={str(correct).lower()}"]
    if out is None or out.suffix != ".onnx":
        run("program:protect-onnx", words, out=out, force=force, json=json)
        return
    component = hub.find("program:protect-onnx")
    finished = hub.run(component, _inputs(component, words), force=force, on_event=None if json else _tell)
    from holdfast.abft.onnx import copy

    copy(Path(finished.steps[0].outputs["model"]), out)
    layers = jsonlib.loads(Path(finished.steps[0].outputs["layers"]).read_text(encoding="utf-8"))
    skipped = [layer for layer in layers if not layer["protected"]]
    count = len(layers) - len(skipped)
    if json:
        print_json(
            {"model": str(out), "protected_layers": count, "layers": len(layers), "unprotected": skipped}
        )
        return
    print(f"{out}: {count} of {len(layers)} layers protected")
    for layer in skipped:
        print(f"not protected: {layer['layer']} ({layer['type']}): {layer['reason']}")


def _print_layers(model: Path, json: bool) -> None:
    from holdfast.programs.protect import dry_run

    layers = dry_run(model)
    if json:
        print_json(layers)
    else:
        columns = ("layer", "type", "protected", "reason")
        print_table(columns, [[layer[name] for name in columns] for layer in layers])


def export_c(words: Sequence[str], *, out: Path, force: bool, json: bool) -> None:
    """Export a packed network as C files in the folder ``out`` itself."""
    from holdfast import hub
    from holdfast.core.paths import write_bytes
    from holdfast.hub import publish

    publish.prepare(out)
    component = hub.find("program:export-c")
    finished = hub.run(component, _inputs(component, words), force=force, on_event=None if json else _tell)
    written = []
    for path in sorted(Path(finished.steps[0].outputs["source"]).iterdir()):
        write_bytes(out / path.name, path.read_bytes())
        written.append(str(out / path.name))
    if json:
        print_json({"files": written, **{record.metric: record.value for record in finished.records}})
        return
    print(", ".join(written))
    _print_lines(map(_in_words, finished.records))


def _count(items: Sequence[Any], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _tell(event: Any) -> None:
    """One line a step on stderr: what it is, and how it went."""
    words = {"start": "…", "ran": f"{event.seconds:.1f} s", "hit": "from the cache"}
    # What made a step fail is the error that ends the command.
    message = f": {event.message}" if event.message and event.kind != "failed" else ""
    how = words.get(event.kind, event.kind) + message
    name = event.step + (f" ({event.title})" if event.title else "")
    terminal = sys.stderr.isatty()
    if event.kind == "start" and not terminal:
        return
    # On a terminal the line of a running step is written over by its outcome.
    end, start = ("", "") if event.kind == "start" else ("\n", "\r\x1b[K" if terminal else "")
    print(f"{start}[{event.index}/{event.total}] {name} {how}", file=sys.stderr, end=end, flush=True)


def explain(target: str, words: Sequence[str], json: bool) -> None:
    """Print for each step whether the cache has it, and why."""
    from holdfast import hub

    component = hub.find(target)
    steps = hub.explain(component, _inputs(component, words))
    if json:
        print_json([step.to_json() for step in steps])
    else:
        print_table(("step", "now", "why"), [(step.step, step.now, "; ".join(step.why)) for step in steps])


def _objectives(objectives: Sequence[str]) -> dict[str, str]:
    directions = {"min": "lower", "max": "higher"}
    parsed = {}
    for text in objectives:
        metric, _, direction = text.rpartition(":")
        if not metric or direction not in directions:
            raise UsageError("--objective", expected="METRIC:min or METRIC:max", got=repr(text))
        parsed[metric] = directions[direction]
    return parsed


def tune(
    target: str, words: Sequence[str], objectives: Sequence[str], trials: int, seed: int, json: bool
) -> None:
    """Search a workflow's choices and print its front."""
    from holdfast import hub

    component = hub.find(target)
    study = hub.tune(
        component, _objectives(objectives), inputs=_inputs(component, words), trials=trials, seed=seed
    )
    rows = [
        {
            "trial": trial.number,
            "choices": trial.choices,
            "values": trial.values,
            "front": index in study.front.indices,
            "error": trial.error,
        }
        for index, trial in enumerate(study.trials)
    ]
    if json:
        print_json({"trials": rows, "experiment": str(study.experiment.folder)})
        return
    cells = [
        (
            row["trial"],
            *row["choices"].values(),
            *(_number(row["values"].get(name)) for name in _objectives(objectives)),
            row["error"] or "*" * row["front"],
        )
        for row in rows
    ]
    print_table(("trial", *rows[0]["choices"], *_objectives(objectives), "front"), cells)


def frontier(source: str, objectives: Sequence[str], by: Sequence[str], json: bool) -> None:
    """Print the Pareto front of an experiment's or a folder's records."""
    from holdfast.hub.frontier import in_words
    from holdfast.programs.front import find_front

    goals = _objectives(objectives)
    found = find_front(_records(source), goals, by)
    if json:
        print_json(found)
        return
    names = list(found["objectives"])
    rows = [
        (
            *point["labels"].values(),
            *(_number(point["values"].get(name)) for name in names),
            "*" * point["on_front"],
        )
        for point in found["points"]
    ]
    print_table((*by, *map(in_words, names), "front"), rows)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _records(source: str) -> list[Any]:
    """Records of a folder with records.jsonl, of a records file, or of the latest run of an experiment."""
    from holdfast.core.result import read_records
    from holdfast.hub import store

    path = Path(source)
    if path.is_dir() and (path / "records.jsonl").exists():
        return read_records(path / "records.jsonl")
    if path.is_file():
        return read_records(path)
    stored = store.entries(experiment=source)
    if not stored:
        raise UsageError(
            "records", expected="a folder with records.jsonl or a recorded experiment", got=repr(source)
        )
    newest = max(item.run for item in stored)
    return [item.record for item in stored if item.run == newest]


def report(source: str, out: Path | None, json: bool) -> None:
    """Render a paper, or the report of a folder of records."""
    out = out or Path("report.html")
    if source.startswith("paper:"):
        from holdfast import hub

        hub.paper.write(hub.find(source), out)
    else:
        from holdfast.programs.report import write_report

        write_report(out, _records(source), title="Hardening report")
    print_json({"report": str(out)}) if json else print(out)


def doctor() -> list[tuple[str, str, str]]:
    """Rows (part, state, detail) about this installation."""
    from holdfast import __version__, kernels
    from holdfast.core import environment, paths

    rows: list[tuple[str, str, str]] = [("holdfast", "ok", __version__)]
    rows += [(name, "ok", version) for name, version in environment.software().items() if name != "holdfast"]
    native = kernels.status()
    rows.append(("native core", "ok" if native["available"] else "absent", str(native["detail"])))
    for extra, module in (
        ("onnx", "onnxruntime"),
        ("report", "altair"),
        ("tune", "optuna"),
        ("attacks", "pyautoattack"),
        ("cluster", "distributed"),
        ("trackers", "tensorboard"),
    ):
        from importlib.util import find_spec

        present = find_spec(module) is not None
        rows.append(
            (
                f"extra {extra}",
                "ok" if present else "absent",
                "" if present else f"pip install holdfast[{extra}]",
            )
        )
    machine = environment.machine()
    rows.append(("machine", "ok", f"{machine['processor']}, {machine['cores']} cores"))
    rows.append(("home", "ok" if paths.home().exists() else "not made yet", str(paths.home())))
    roots = paths.data_roots()
    rows.append(("data", "ok" if roots else "not set", ", ".join(map(str, roots)) or "set HOLDFAST_DATA"))
    return rows


def show_plan(path: Path, json: bool) -> None:
    """Print the plans of a file with the reasons."""
    from dataclasses import asdict

    from holdfast.abft import plan as plans

    loaded = plans.load(path)
    if json:
        print_json([{"key": dict(each.key), "layers": [asdict(x) for x in each.layers]} for each in loaded])
        return
    for each in loaded:
        _print_lines(each.describe().splitlines())


def _print_lines(lines: Iterable[str]) -> None:
    """Print each line, wrapped with an indent where the terminal is narrow."""
    for line in lines:
        print(fill(line, get_terminal_size().columns, subsequent_indent="  "))


def _in_words(record: Any) -> str:
    """A result record as one line."""
    value = _number(record.value) + (f" {record.unit}" if record.unit not in ("", "1") else "")
    if record.interval is not None:
        value += f" [{record.interval.low:.4g}, {record.interval.high:.4g}]"
    labels = ", ".join(f"{name} {value}" for name, value in record.labels.items())
    return f"{record.metric.replace('_', ' ')}: {value}" + (f" ({labels})" if labels else "")
