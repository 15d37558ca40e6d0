"""Needs of programs in a run: what a step sees, what its key and its records hold, and what explain says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub import explain, run
from holdfast.hub.needs import packages_of
from holdfast.hub.repository import find

SCRIPT = """
import os, subprocess, sys
out, compiler, data = sys.argv[1:]
said = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
named = {name: value for name, value in os.environ.items() if name.startswith("HOLDFAST_NEED_")}
open(out + "/said.txt", "w").write(said + open(data).read() + repr(sorted(named)) + os.environ["TOYCC"])
record = '{"schema": "holdfast.record/1", "metric": "size", "value": 1, "unit": "1", "direction": "none"}'
open(out + "/records.jsonl", "w").write(record + "\\n")
"""


def compiler(folder: Path, name: str, version: str, remark: str = "") -> Path:
    """A program that says it is a compiler."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n# {remark}\necho 'toycc (Toys) {version}'\n")
    path.chmod(0o755)
    return path


def write_world(toys, tmp_path, monkeypatch):
    """``program:build``, which needs a toy compiler on PATH and a package of data."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data/n.txt").write_text("data 1 ")
    compiler(tmp_path / "bin", "toycc", "12.2.0")
    toys.component(
        "soft",
        "toycc",
        detect={
            "binaries": ["toycc", "toycc-*"],
            "command": ["{binary}", "--version"],
            "pattern": r"\(Toys\) (?P<version>\d+\.\d+\.\d+)",
            "environment": {"TOYCC": "{binary}"},
        },
    )
    folder = toys.component("package", "numbers")
    described = json.loads((folder / "component.json").read_text())
    described |= {"files": [{"names": ["n.txt"]}], "provides": {"n": "n.txt"}}
    (folder / "component.json").write_text(json.dumps(described))
    toys.component(
        "program",
        "build",
        files={"script.py": SCRIPT},
        outputs={"said": {"type": "file", "path": "said.txt"}},
        entry={"command": ["{python}", "script.py", "{out}", "{needs.cc}", "{needs.data.n}"]},
        needs={
            "cc": {"uses": "soft:toycc", "versions": ">=12"},
            "data": {"uses": "package:numbers"},
            "gpu": {"uses": "soft:nvcc", "versions": ">=99", "optional": True},
        },
    )
    toys.component("workflow", "w", steps=[{"id": "build", "uses": "program:build"}])
    return toys


@pytest.fixture
def world(toys, tmp_path, monkeypatch):
    """See ``write_world``."""
    return write_world(toys, tmp_path, monkeypatch)


def test_a_step_sees_what_its_needs_became(world, tmp_path):
    result = run("program:build")
    said = result.output("build", "said").read_text()
    assert said == (
        "toycc (Toys) 12.2.0\ndata 1 "
        "['HOLDFAST_NEED_CC', 'HOLDFAST_NEED_DATA', 'HOLDFAST_NEED_DATA_N']"
        f"{tmp_path / 'bin/toycc'}"
    )


def test_records_and_run_json_tell(world, tmp_path):
    result = run("program:build")
    (record,) = result.records
    assert record.software["toycc"] == "12.2.0"
    assert record.components["package:numbers"].version == "1.0.0"
    needs = json.loads((result.folder / "run.json").read_text())["steps"][0]["needs"]
    assert needs["cc"]["path"] == str(tmp_path / "bin/toycc")
    assert needs["data"]["hash"] == record.components["package:numbers"].hash
    assert set(needs) == {"cc", "data"}


def test_versions_and_hashes_count_and_paths_do_not(world, tmp_path):
    run("program:build")
    assert run("program:build").steps[0].status == "hit"
    shutil.move(tmp_path / "bin/toycc", tmp_path / "bin/toycc-12")
    assert run("program:build").steps[0].status == "hit"
    compiler(tmp_path / "bin", "toycc-12", "13.1.0")
    (why,) = explain("program:build")
    assert why.why == ["toycc 12.2.0 -> 13.1.0"]
    assert run("program:build").steps[0].reasons == ["toycc 12.2.0 -> 13.1.0"]
    compiler(tmp_path / "bin", "toycc-12", "13.1.0", "built otherwise")
    assert run("program:build").steps[0].reasons == ["toycc 13.1.0: other content"]
    (tmp_path / "data/n.txt").write_text("data 2 ")
    assert run("program:build").steps[0].reasons == ["numbers 1.0.0: other content"]


def test_several_compilers_are_an_error_until_one_is_named(world, tmp_path):
    compiler(tmp_path / "bin", "toycc-13", "13.1.0")
    with pytest.raises(ComponentError, match=r"(?s)12\.2\.0.*--software toycc="):
        run("program:build")
    assert explain("program:build")[0].now == "miss"
    chosen = run("program:build", software={"toycc": str(tmp_path / "bin/toycc-13")})
    assert chosen.steps[0].needs["cc"]["version"] == "13.1.0"
    assert run("program:build", software={"toycc": "12.2.0"}).steps[0].needs["cc"]["version"] == "12.2.0"
    with pytest.raises(UsageError, match="/opt/toycc"):
        run("program:build", software={"toycc": "/opt/toycc"})


def test_a_missing_compiler_stops_the_run_before_the_step(world, tmp_path):
    (tmp_path / "bin/toycc").unlink()
    with pytest.raises(ComponentError, match=r"program:build wants soft:toycc >=12.*none found"):
        run("program:build")
    (run_json,) = (tmp_path / "home/experiments/build").glob("*/run.json")
    assert json.loads(run_json.read_text())["status"] == "failed"


def test_explain_installs_nothing(world, tmp_path):
    explain("program:build")
    assert not (tmp_path / "home/store").exists()
    (tmp_path / "data/n.txt").unlink()
    (why,) = explain("program:build")
    assert "holdfast install package:numbers" in why.why[0]


def test_all_packages_that_a_workflow_needs(world):
    assert [item.id for item in packages_of(find("workflow:w"))] == ["package:numbers"]
    assert [item.id for item in packages_of(find("package:numbers"))] == ["package:numbers"]


def test_an_output_that_is_not_provided(world):
    folder = world.root / "program/build"
    described = json.loads((folder / "component.json").read_text())
    described["entry"]["command"][-1] = "{needs.data.images}"
    (folder / "component.json").write_text(json.dumps(described))
    with pytest.raises(ComponentError, match=r"expected one of n, which package:numbers provides"):
        run("program:build")
