"""Workflows as plain files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from holdfast.core.errors import ComponentError
from holdfast.hub import explain, run
from holdfast.hub.workflow import load
from holdfast.hub.workflow_file import open_workflow

STEPS = {"steps": [{"id": "add", "uses": "program:add", "with": {"a": 1}}]}


def write(path, **fields):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(STEPS | fields))
    return str(path)


def test_a_file_of_steps_runs_and_is_explained(toys, tmp_path):
    toys.add()
    file = write(tmp_path / "My flow.json")
    result = run(file, {"add.b": "4"})
    assert (result.component, result.records[0].value) == ("workflow:my-flow", 5)
    assert explain(file, {"add.b": 4})[0].now == "hit"
    (tmp_path / "beside.txt").write_text("is no part of it")
    assert open_workflow(tmp_path / "My flow.json").hash == result.hash


def test_programs_beside_the_file_come_first(toys, tmp_path, monkeypatch):
    toys.add()
    file = write(tmp_path / "elsewhere/w.json")
    toys.root = tmp_path / "elsewhere"
    code = toys.add() / "main.py"
    code.write_text(code.read_text().replace("a + b", "100"))
    assert run(file).records[0].value == 100


def test_bad_files(tmp_path):
    cases = {
        "{": "a workflow in JSON",
        "[]": "a JSON object, got list",
        '{"steps": []}': "steps: List should have at least 1 item",
        '{"step": 1}': "unknown key",
        '{"steps": 1, "steps": 2}': "key given twice",
        '{"kind": "program"}': "kind: Input should be 'workflow'",
    }
    for text, message in cases.items():
        (tmp_path / "w.json").write_text(text)
        with pytest.raises(ComponentError, match=message):
            open_workflow(tmp_path / "w.json")
    with pytest.raises(ComponentError, match="No such file"):
        open_workflow(tmp_path / "none.json")


def test_the_workflow_of_the_page_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "workflows.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "w.json").write_text(block)
    plan = load(open_workflow(tmp_path / "w.json"))
    assert [step.id for step in plan.steps] == [
        *(f"train[seed={seed}]" for seed in range(3)),
        "bench",
        "export[seed=0]",
    ]
