"""What the verbs do that write files for other software: one library call each, and what it answers."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.cli import arguments
from holdfast.cli.output import in_words, print_json, print_lines, print_table
from holdfast.cli.verbs import _tell, inputs_of
from holdfast.core.errors import UsageError


def export_onnx(words: Sequence[str], *, out: Path, force: bool, json: bool) -> None:
    """Export a model as the ONNX file ``out``."""
    from holdfast.core.paths import write_bytes

    if out.suffix != ".onnx":
        raise UsageError("--out", expected="a file that ends in .onnx", got=str(out))
    finished = _finished("export-onnx", words, force, json)
    write_bytes(out, Path(finished.steps[0].outputs["onnx"]).read_bytes())
    _print([out], finished, json)


def export_cmssw(words: Sequence[str], *, out: Path, force: bool, json: bool) -> None:
    """Export a model as a CMSSW package below the folder ``out``."""
    from holdfast.core.paths import write_bytes
    from holdfast.hub import publish

    publish.prepare(out)
    finished = _finished("export-cmssw", words, force, json)
    source = Path(finished.steps[0].outputs["source"])
    written = []
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        written.append(out / path.relative_to(source))
        write_bytes(written[-1], path.read_bytes())
    _print(written, finished, json)


def quantize(words: Sequence[str], *, out: Path | None, force: bool, json: bool) -> None:
    """Quantise a model and say what was chosen, and why."""
    finished = _finished("quantize", words, force, json, out)
    choice: dict[str, Any] = jsonlib.loads(
        Path(finished.steps[0].outputs["choice"]).read_text(encoding="utf-8")
    )
    if json:
        print_json(choice)
        return
    print_table(choice["columns"], choice["rows"])
    print_lines([f"chosen: {choice['chosen']}. {choice['reason']}"])
    print(f"in {out or finished.folder}")


def _finished(program: str, words: Sequence[str], force: bool, json: bool, out: Path | None = None) -> Any:
    from holdfast import hub

    component = hub.find(f"program:{program}")
    inputs = inputs_of(component, words)
    steps = inputs.get("transform")
    if isinstance(steps, str) and steps.startswith("@"):
        inputs["transform"] = arguments.load_json(Path(steps[1:]))
    return hub.run(component, inputs, out=out, force=force, on_event=None if json else _tell)


def _print(written: list[Path], finished: Any, json: bool) -> None:
    if json:
        values = {record.metric: record.value for record in finished.records}
        print_json({"files": [str(path) for path in written], **values})
        return
    for path in written:
        print(path)
    print_lines(map(in_words, finished.records))
