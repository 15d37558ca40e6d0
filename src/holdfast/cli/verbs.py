"""What the verbs that run components do: one library call each, and the printing of its answer."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.cli import arguments, workflows
from holdfast.cli.output import in_words, print_json, print_lines, print_table
from holdfast.core.errors import UsageError

_FEW = 8
"""How many records are printed; more are left to their file."""


def inputs_of(component: Any, words: Sequence[str]) -> dict[str, Any]:
    """Input values from the words of a command line, as the component names them. Raises UsageError."""
    cli = getattr(component.meta, "cli", None)
    if cli is None:
        return arguments.parse(words)
    last = cli.positional[-1] if cli.positional else None
    many = last if last is not None and component.meta.inputs[last].type == "paths" else None
    return arguments.parse(words, positional=cli.positional, short=cli.short, many=many)


def run(
    target: str,
    words: Sequence[str],
    *,
    out: Path | None,
    force: bool,
    json: bool,
    settings: Mapping[str, str] | None = None,
    executor: str | None = None,
    workers: int | None = None,
    **options: Any,
) -> None:
    """Run a component, tell what happens on stderr, and print the outcome."""
    from holdfast import hub
    from holdfast.hub.workflow_file import locate

    component = locate(target)
    if component.meta.yanked:
        print(f"{component.id} {component.version} is yanked: {component.meta.yanked}", file=sys.stderr)
    own = workflows.own_inputs(component, {"executor": executor, "workers": workers})
    inputs = {**inputs_of(component, words), **own, **(settings or {})}
    with workflows.where(None if "executor" in own else executor, None if own else workers) as where:
        finished = hub.run(
            component,
            inputs,
            out=out,
            force=force,
            on_event=None if json else _tell,
            **where,
            **options,
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
        print_lines(map(in_words, finished.records))
    for path in sorted((out or finished.folder).glob("*.html")):
        print(f"report: {path}")


def explain(
    target: str,
    words: Sequence[str],
    json: bool,
    settings: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Print for each step whether the cache has it, and why."""
    from holdfast import hub
    from holdfast.hub.workflow_file import locate

    component = locate(target)
    steps = hub.explain(component, {**inputs_of(component, words), **(settings or {})}, **options)
    if json:
        print_json([step.to_json() for step in steps])
    else:
        print_table(("step", "now", "why"), [(step.step, step.now, "; ".join(step.why)) for step in steps])


def protect(
    words: Sequence[str], *, correct: bool, dry_run: bool, out: Path | None, force: bool, json: bool
) -> None:
    """Protect a model file: an ONNX file goes to ``out`` itself if that ends in .onnx, else into a folder."""
    from holdfast import hub

    inputs = inputs_of(hub.find("program:protect"), words)
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
    finished = hub.run(component, inputs_of(component, words), force=force, on_event=None if json else _tell)
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
    finished = hub.run(component, inputs_of(component, words), force=force, on_event=None if json else _tell)
    written = []
    for path in sorted(Path(finished.steps[0].outputs["source"]).iterdir()):
        write_bytes(out / path.name, path.read_bytes())
        written.append(str(out / path.name))
    if json:
        print_json({"files": written, **{record.metric: record.value for record in finished.records}})
        return
    print(", ".join(written))
    print_lines(map(in_words, finished.records))


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
