"""Bundles: what was chosen runs from another directory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from holdfast.core.errors import UsageError
from holdfast.core.result import Record, read_records
from holdfast.hub import find, store, tune
from holdfast.hub.deploy import deploy

PROGRAM = """
    from pathlib import Path
    from holdfast.core.result import Record, write_records

    def run(out: Path, *, x, words):
        (out / "run.py").write_text(f"import sys; print('deployed', {x}, *sys.argv[1:])")
        loss = (x - 2) ** 2 + len(words.read_text())
        record = Record(metric="loss", value=loss, unit="1", direction="lower")
        write_records(out / "records.jsonl", [record])
"""


@pytest.fixture
def workflow(toys, tmp_path):
    (tmp_path / "words.txt").write_text("ab")
    inputs = {"x": {"type": "integer"}, "words": {"type": "path"}}
    outputs = {"script": {"type": "file", "path": "run.py"}}
    toys.program("p", PROGRAM, inputs=inputs, outputs=outputs)
    wires = {name: {"from": f"inputs.{name}"} for name in inputs}

    def make(**outputs):
        toys.component(
            "workflow",
            "w",
            inputs={"x": {"type": "integer", "default": 0}, "words": {"type": "path"}},
            steps=[{"id": "p", "uses": "program:p", "with": wires}],
            choices={"x": {"type": "integer", "low": 0, "high": 3}},
            outputs=outputs.get("outputs", {}),
        )
        return find("workflow:w")

    return make


def chosen(tmp_path, component):
    study = tune(component, {"loss": "lower"}, inputs={"words": str(tmp_path / "words.txt")}, sampler="grid")
    (best,) = study.front.indices
    records = store.query(experiment="tune-w")
    return [record for record in records if record.labels["trial"] == best]


def started(bundle, *words, cwd):
    command = [sys.executable, str(bundle / "run.py"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_a_bundle_starts_what_the_workflow_left_from_another_directory(workflow, tmp_path):
    records = chosen(tmp_path, workflow(outputs={"run.py": {"from": "p.script"}}))
    bundle = deploy(records, tmp_path / "bundle", rule="best:loss")
    (tmp_path / "elsewhere").mkdir()
    moved = bundle.rename(tmp_path / "elsewhere" / "moved")
    done = started(moved, "now", cwd=tmp_path / "elsewhere")
    assert done.stdout == "deployed 2 now\n"
    config = json.loads((moved / "config.json").read_text())
    assert config["inputs"] == {"x": 2, "words": {"path": "inputs/words/words.txt"}}
    assert read_records(moved / "records.jsonl")[0].value == 2
    assert "best:loss" in (moved / "README.md").read_text()
    assert (moved / "holdfast.lock.json").exists()
    assert (moved / "components" / "program" / "p" / "main.py").exists()
    assert str(tmp_path) not in (moved / "config.json").read_text() + (moved / "README.md").read_text()
    with pytest.raises(UsageError, match="new or empty"):
        deploy(records, moved, rule="best:loss")


@pytest.mark.slow
def test_a_bundle_runs_its_configuration_again_without_what_it_came_from(
    workflow, toys, tmp_path, monkeypatch
):
    records = chosen(tmp_path, workflow())
    bundle = deploy(records, tmp_path / "bundle", rule="best:loss")
    (tmp_path / "words.txt").unlink()
    toys.root.rename(tmp_path / "gone")
    monkeypatch.delenv("HOLDFAST_REPO")
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "new-home"))
    (tmp_path / "elsewhere").mkdir()
    for words in ("--again", "--locked"):
        done = started(bundle, words, cwd=tmp_path / "elsewhere")
        assert done.returncode == 0, done.stderr
        (record,) = read_records(tmp_path / "elsewhere" / "results" / "records.jsonl")
        assert record.value == 2
    (bundle / "inputs" / "words" / "words.txt").write_text("changed")
    done = started(bundle, "--locked", cwd=tmp_path / "elsewhere")
    assert done.returncode == 9
    assert "words" in done.stderr


def test_what_cannot_be_deployed(workflow, tmp_path):
    records = chosen(tmp_path, workflow())
    with pytest.raises(UsageError, match="a point that is one run"):
        deploy([Record(metric="loss", value=1, unit="1", direction="lower")], tmp_path / "b", rule="knee")
    gone = [records[0].model_copy(update={"labels": {"run": "20200101T000000000000-00000000"}})]
    with pytest.raises(UsageError, match="a run that is kept"):
        deploy(gone, tmp_path / "b", rule="knee")
    folder = find("workflow:w").folder
    (folder / "note.txt").write_text("changed since")
    with pytest.raises(UsageError, match="a changed one"):
        deploy(records, tmp_path / "b", rule="knee")
    assert not (tmp_path / "b").exists()
