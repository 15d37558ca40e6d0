"""Locks: what they pin, what drifts and how that is said, and that a moved project still runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub import distributions, lock, run

from .test_needs import compiler, write_world


@pytest.fixture
def world(toys, tmp_path, monkeypatch):
    """``workflow:w``, which needs a toy compiler and data, and takes a file and a number."""
    made = write_world(toys, tmp_path, monkeypatch)
    folder = made.root / "program/build"
    described = json.loads((folder / "component.json").read_text())
    described["inputs"] = {"source": {"type": "path"}, "n": {"type": "integer", "default": 1}}
    (folder / "component.json").write_text(json.dumps(described))
    made.component(
        "workflow",
        "w",
        inputs={"source": {"type": "path"}, "n": {"type": "integer", "default": 1}},
        steps=[
            {
                "id": "build",
                "uses": "program:build",
                "with": {"source": {"from": "inputs.source"}, "n": {"from": "inputs.n"}},
            }
        ],
    )
    (tmp_path / "main.c").write_text("int main;")
    return made


@pytest.fixture
def locked(world, tmp_path):
    """The file of the lock of ``workflow:w``."""
    path = tmp_path / "holdfast.lock.json"
    lock.write(lock.pin("workflow:w", {"source": "main.c", "n": 7}), path)
    return path


def edit(path: Path, **fields) -> None:
    """Change fields of a component."""
    described = json.loads(path.read_text()) | fields
    path.write_text(json.dumps(described))


def drifted(path: Path, **inputs) -> str:
    """What a locked run refuses to do."""
    with pytest.raises(lock.DriftError) as error:
        run("workflow:w", inputs, lock=path)
    assert error.value.exit_code == 9
    return str(error.value)


def test_a_lock_pins_everything_by_version_and_hash(locked, tmp_path):
    data = json.loads(locked.read_text())
    assert set(data["components"]) == {
        "workflow:w",
        "program:build",
        "soft:toycc",
        "package:numbers",
    }
    needs = data["needs"]["program:build"]
    assert (needs["cc"]["id"], needs["cc"]["version"]) == ("soft:toycc", "12.2.0")
    assert len(needs["cc"]["hash"]) == len(needs["data"]["hash"]) == 64
    assert data["inputs"] == {"source": {"path": "main.c"}, "n": 7}
    assert set(data["files"]) == {"source"}
    assert {"holdfast", "numpy", "torch", "pydantic"} <= set(data["distributions"])
    assert data["platform"]["machine"]
    assert str(tmp_path) not in locked.read_text()


def test_a_locked_run_takes_its_inputs_from_the_lock(locked, tmp_path):
    result = run("workflow:w", lock=locked)
    assert result.inputs == {"source": str(tmp_path / "main.c"), "n": 7}
    assert run("workflow:w", {"n": 8}, lock=locked).inputs["n"] == 8


def test_a_changed_compiler_is_named(locked, tmp_path):
    old = json.loads(locked.read_text())["needs"]["program:build"]["cc"]["hash"]
    compiler(tmp_path / "bin", "toycc", "13.1.0")
    said = drifted(locked)
    assert f"soft:toycc: expected 12.2.0 ({old[:12]}), got 13.1.0 (" in said
    assert f"at {tmp_path / 'bin/toycc'}" in said
    assert said.count("expected") == 1, "nothing else has drifted"
    assert not (tmp_path / "home/experiments").exists(), "refused before anything ran"


def test_the_locked_compiler_is_chosen_among_several(locked, tmp_path):
    compiler(tmp_path / "bin", "toycc-13", "13.1.0")
    result = run("workflow:w", lock=locked)
    assert result.steps[0].needs["cc"]["version"] == "12.2.0"


def test_another_build_of_the_same_version_is_named(locked, tmp_path):
    compiler(tmp_path / "bin", "toycc", "12.2.0", "another build")
    assert "soft:toycc: expected 12.2.0 (" in drifted(locked)


def test_a_missing_compiler_is_named(locked, tmp_path):
    (tmp_path / "bin/toycc").unlink()
    assert "soft:toycc: expected 12.2.0" in drifted(locked)
    assert "got none found" in drifted(locked)


def test_changed_data_are_named(locked, tmp_path):
    (tmp_path / "data/n.txt").write_text("others")
    assert "package:numbers: expected 1.0.0 (" in drifted(locked)


def test_a_changed_input_file_is_named(locked, tmp_path):
    (tmp_path / "main.c").write_text("int other;")
    assert drifted(locked).startswith("workflow:w has drifted from its lock: file source: expected ")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": "1.1.0"}, "program:build: expected 1.0.0, got 1.1.0"),
        ({"title": "Other"}, "program:build: expected 1.0.0 ("),
        ({"uid": "0123456789abcdef"}, "got uid 0123456789abcdef"),
    ],
    ids=["version", "content", "uid"],
)
def test_a_changed_component_is_named(locked, world, fields, words):
    edit(world.root / "program/build/component.json", **fields)
    assert words in drifted(locked)


def test_a_newer_version_beside_the_locked_one_is_not_taken(locked, world):
    newer = world.root / "program/build@2.0.0"
    shutil.copytree(world.root / "program/build", newer)
    edit(newer / "component.json", version="2.0.0")
    assert run("workflow:w", {"source": "main.c"}).steps[0].facets["component"]["version"] == "2.0.0"
    assert run("workflow:w", lock=locked).steps[0].facets["component"]["version"] == "1.0.0"


def test_a_yanked_package_still_runs_from_its_lock_and_says_so(locked, world):
    edit(world.root / "package/numbers/component.json", yanked="wrong numbers")
    with pytest.raises(ComponentError, match="yanked: wrong numbers"):
        run("workflow:w", {"source": "main.c"})
    events = []
    run("workflow:w", lock=locked, on_event=events.append)
    assert "package:numbers 1.0.0 is yanked: wrong numbers" in [event.message for event in events]


def test_changed_python_distributions_are_named(locked, monkeypatch):
    monkeypatch.setattr(
        lock,
        "version_of",
        lambda name: {"numpy": "0.9", "torch": None}.get(name, distributions.version_of(name)),
    )
    said = drifted(locked)
    assert "got 0.9" in said
    assert "torch: expected" in said
    assert "got not installed" in said


def test_a_data_set_that_is_named_counts_by_its_content(world, tmp_path):
    code = "def run(out, *, data):\n    (out / 'x').write_text(data)\n"
    outputs = {"x": {"type": "file", "path": "x"}}
    inputs = {"data": {"type": "source", "default": "numbers"}}
    world.program("reader", code, inputs=inputs, outputs=outputs)
    path = tmp_path / "reader.lock.json"
    lock.write(lock.pin("program:reader"), path)
    assert run("program:reader", lock=path).steps[0].status == "ran"
    (tmp_path / "data/n.txt").write_text("others")
    with pytest.raises(lock.DriftError, match="file data: expected"):
        run("program:reader", lock=path)


def test_another_machine_is_named(locked, monkeypatch):
    monkeypatch.setattr(lock.platform, "machine", lambda: "riscv64")
    assert "platform machine: expected" in drifted(locked)


def test_the_lock_of_another_component(locked):
    with pytest.raises(UsageError, match="program:build"):
        run("program:build", {"source": "main.c"}, lock=locked)


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", '{"schema": "holdfast.lock/9"}'],
    ids=["none", "empty", "half", "list", "schema"],
)
def test_what_is_no_lock(world, tmp_path, text):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match=r"x\.json"):
        run("workflow:w", {"source": "main.c"}, lock=tmp_path / "x.json")


def test_a_moved_project_in_an_empty_home_runs_as_locked(locked, tmp_path, monkeypatch):
    before = run("workflow:w", lock=locked)
    elsewhere = tmp_path / "elsewhere"
    for name in ("repo", "bin", "data", "main.c", "holdfast.lock.json"):
        shutil.move(tmp_path / name, elsewhere / name) if elsewhere.mkdir(exist_ok=True) is None else None
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "fresh"))
    monkeypatch.setenv("HOLDFAST_REPO", str(elsewhere / "repo"))
    monkeypatch.setenv("HOLDFAST_DATA", str(elsewhere / "data"))
    monkeypatch.setenv("PATH", f"{elsewhere / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(elsewhere)
    after = run("workflow:w", lock=elsewhere / "holdfast.lock.json")
    assert after.steps[0].status == "ran"
    assert after.steps[0].key == before.steps[0].key


IN_VENV = """
import sys
from pathlib import Path
from holdfast.hub import run
result = run("workflow:w", lock=Path("holdfast.lock.json"))
print(sys.prefix, result.steps[0].status, result.steps[0].key)
"""


@pytest.mark.slow
def test_a_fresh_venv_runs_as_locked_and_names_what_it_has_otherwise(locked, tmp_path, monkeypatch):
    expected = run("workflow:w", lock=locked).steps[0].key
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/*/site-packages")
    (base,) = {path for path in sys.path if path.endswith("site-packages")}
    (site / "base.pth").write_text(f"import site; site.addsitedir({base!r})\n")
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "fresh"))

    def start():
        return subprocess.run(
            [str(venv / "bin/python"), "-c", IN_VENV], capture_output=True, text=True, check=False
        )

    assert start().stdout.split() == [str(venv), "ran", expected]
    fake = site / "packaging-1.0.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: packaging\nVersion: 1.0\n")
    done = start()
    assert "DriftError" in done.stderr
    assert "packaging: expected" in done.stderr
    assert "got 1.0" in done.stderr
