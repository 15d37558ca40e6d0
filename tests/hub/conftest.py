"""Toy components, written into a repository and a home of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from holdfast.core.canonical import content_hash

ADD = """
    from pathlib import Path
    from holdfast.core.result import Record, write_records

    def run(out: Path, *, a, b):
        (out / "sum.txt").write_text(str(a + b))
        record = Record(metric="sum", value=a + b, unit="1", direction="higher", labels={"a": a})
        write_records(out / "records.jsonl", [record])
"""
DOUBLE = """
    def run(out, *, source):
        (out / "double.txt").write_text(str(2 * int(source.read_text())))
"""


class Toys:
    """A project repository that tests fill with components."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def component(self, kind: str, name: str, **fields: Any) -> Path:
        """Write ``<kind>/<name>/component.json`` and return its folder."""
        files = fields.pop("files", {})
        folder = self.root / kind / fields.pop("folder", name)
        folder.mkdir(parents=True, exist_ok=True)
        base = {
            "schema": "holdfast.component/1",
            "kind": kind,
            "name": name,
            "uid": content_hash([kind, name])[:16],
            "version": "1.0.0",
            "title": name.capitalize(),
        }
        (folder / "component.json").write_text(json.dumps(base | fields))
        for file, text in files.items():
            (folder / file).write_text(dedent(text))
        return folder

    def program(self, name: str, code: str, **fields: Any) -> Path:
        """A program whose function ``run`` is ``code``, in ``main.py``."""
        fields.setdefault("entry", {"python": "main.py:run"})
        files = {"main.py": code} | fields.pop("files", {})
        return self.component("program", name, files=files, **fields)

    def add(self, **fields: Any) -> Path:
        """``program:add``: the sum of two integers, as a file and as a record."""
        inputs = {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}}
        outputs = {
            "sum": {"type": "file", "path": "sum.txt"},
            "records": {"type": "records", "path": "records.jsonl"},
        }
        return self.program("add", ADD, **{"inputs": inputs, "outputs": outputs} | fields)

    def double(self, **fields: Any) -> Path:
        """``program:double``: twice the number in a file."""
        inputs = {"source": {"type": "path"}}
        outputs = {"double": {"type": "file", "path": "double.txt"}}
        return self.program("double", DOUBLE, **{"inputs": inputs, "outputs": outputs} | fields)

    def shell(self) -> None:
        """``program:add`` and ``program:double`` as shell scripts, which start ten times faster."""
        record = r'{"metric": "sum", "value": %s, "unit": "1", "direction": "higher", "labels": {"a": %s}}'
        script = f"s=$(($1 + $2)); printf %s $s > sum.txt; printf '{record}\\n' $s $1 > records.jsonl"
        command = ["/bin/sh", "add.sh", "{inputs.a}", "{inputs.b}"]
        self.add(entry={"command": command}, files={"add.sh": script})
        double = "printf %s $((2 * $(cat $1))) > double.txt"
        self.double(
            entry={"command": ["/bin/sh", "double.sh", "{inputs.source}"]}, files={"double.sh": double}
        )

    def chain(self, **fields: Any) -> Path:
        """``workflow:chain``: add, then double."""
        self.add()
        self.double()
        steps = [
            {"id": "double", "uses": "program:double", "with": {"source": {"from": "add.sum"}}},
            {"id": "add", "uses": "program:add", "with": {"a": {"from": "inputs.a"}, "b": 2}},
        ]
        base = {
            "inputs": {"a": {"type": "integer", "default": 1}},
            "steps": steps,
            "outputs": {"result/double.txt": {"from": "double.double"}},
        }
        return self.component("workflow", "chain", **base | fields)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toys:
    """An empty project repository beside an empty home."""
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOLDFAST_REPO", str(tmp_path / "repo"))
    monkeypatch.chdir(tmp_path)
    return Toys(tmp_path / "repo")


@pytest.fixture
def statuses() -> Callable[[Any], dict[str, str]]:
    """Status of every step of a run."""
    return lambda run: {step.id: step.status for step in run.steps}
