"""The verbs ``install`` and ``lock``, ``run --locked`` and ``--software``, in this process."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.core.errors import HoldfastError, UsageError
from holdfast.hub import access
from holdfast.hub.lock import DriftError

CODE = "def run(out, *, n):\n    (out / 'n.txt').write_text(str(n))\n"


@pytest.fixture
def holdfast(tmp_path, monkeypatch):
    """Return a function that runs a verb; ``package:w`` links a file, ``program:p`` needs it."""

    def write(kind, name, **fields):
        folder = tmp_path / "repo" / kind / name
        folder.mkdir(parents=True)
        uid = hashlib.sha256(name.encode()).hexdigest()[:16]
        base = {"schema": "holdfast.component/1", "kind": kind, "name": name, "uid": uid, "title": name}
        (folder / "component.json").write_text(json.dumps(base | {"version": "1.0.0"} | fields))
        return folder

    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOLDFAST_REPO", str(tmp_path / "repo"))
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/w.bin").write_bytes(b"weights")
    files = [{"names": ["w.bin"], "sha256": hashlib.sha256(b"weights").hexdigest()}]
    write("package", "w", files=files, license="CC0", simulated=True)
    source = {"url": "http://127.0.0.1:9/x", "sha256": "0" * 64, "bytes": 1234567}
    write("package", "far", sources=[source], license="CC BY 4.0")
    outputs = {"n": {"type": "file", "path": "n.txt"}}
    inputs = {"n": {"type": "integer", "default": 1}}
    program = {"inputs": inputs, "outputs": outputs, "entry": {"python": "main.py:run"}}
    (write("program", "p", needs={"w": {"uses": "package:w"}}, **program) / "main.py").write_text(CODE)

    def run(*words):
        done = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(done.exception, HoldfastError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_a_dry_run_says_bytes_and_licence(holdfast):
    said = holdfast("install", "package:far", "--dry-run")
    assert "would download, 1,234,567 bytes; licence: CC BY 4.0" in said
    assert "http://127.0.0.1:9/x" in said


def test_show_tells_how_a_package_comes(holdfast):
    said = holdfast("show", "package:far")
    assert "licence: CC BY 4.0" in said
    assert "http://127.0.0.1:9/x\n    sha256 " + "0" * 64 in said
    assert "below HOLDFAST_DATA: w.bin" in holdfast("show", "package:w")
    assert "package:w" in holdfast("show", "program:p")


def test_offline_refuses_the_network(holdfast):
    with pytest.raises(UsageError, match="--offline"):
        holdfast("install", "package:far", "--offline")
    with pytest.raises(UsageError, match="--from"):
        holdfast("install", "package:far", "--from", "nowhere")


def test_all_that_a_program_needs_is_installed(holdfast):
    said = holdfast("install", "program:p")
    assert "package:w 1.0.0: installed; licence: CC0; simulated data" in said
    assert "was there" in holdfast("install", "program:p")
    (made,) = json.loads(holdfast("install", "package:w", "--json"))
    assert (made["fresh"], made["simulated"]) == (False, True)


def test_a_lock_and_its_drift(holdfast, tmp_path):
    assert "1 needs" in holdfast("lock", "program:p", "--n", "5")
    assert json.loads((tmp_path / "holdfast.lock.json").read_text())["inputs"] == {"n": 5}
    holdfast("run", "program:p", "--locked", "--out", "out")
    assert (tmp_path / "out/n.txt").read_text() == "5"
    (tmp_path / "repo/program/p/main.py").write_text(CODE + "# changed\n")
    with pytest.raises(DriftError, match=r"program:p: expected 1\.0\.0 \("):
        holdfast("run", "program:p", "--lock", "holdfast.lock.json")
    holdfast("run", "program:p")


@pytest.mark.parametrize("text", ["gcc", "=x", "gcc="])
def test_a_choice_of_software_that_says_nothing(holdfast, text):
    with pytest.raises(UsageError, match="NAME=PATH"):
        holdfast("run", "program:p", "--software", text)


def test_the_same_through_access(holdfast, tmp_path):
    plan = access({"action": "install", "component": "package:far", "dry_run": True})
    assert (plan["return"], plan["packages"][0]["bytes"]) == (0, 1234567)
    made = access({"action": "install", "component": "package:w"})["packages"][0]
    assert made | {"fresh": False} == json.loads(holdfast("install", "package:w", "--json"))[0]
    locked = access({"action": "lock", "component": "program:p", "inputs": {"n": 2}, "out": "a.lock.json"})
    assert locked["lock"] == json.loads((tmp_path / "a.lock.json").read_text())
    failed = access({"action": "install", "component": "package:far", "offline": True})
    assert failed["return"] == UsageError.exit_code
