"""Processes of programs: what they are given, and that they never outlive their runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from holdfast.core.errors import StepError
from holdfast.hub import find, run
from holdfast.hub.cache import Cache
from holdfast.hub.hashes import FileHashes
from holdfast.hub.process import Call, execute

TELL = """
    import json, os, sys
    def run(out, **inputs):
        told = {"cwd": os.getcwd(), "types": {k: type(v).__name__ for k, v in inputs.items()},
                "stdin": sys.stdin.read(), "home": os.environ["HOLDFAST_HOME"], "group": os.getpgid(0)}
        (out / "told.json").write_text(json.dumps(told))
"""
TOLD = {"told": {"type": "file", "path": "told.json"}}


def test_what_a_python_program_is_given(toys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_HOME", "home")
    kinds = {"p": "path", "ps": "paths", "s": "source", "n": "number", "j": "json"}
    inputs = {name: {"type": kind} for name, kind in kinds.items()} | {
        "none": {"type": "path", "optional": True}
    }
    toys.program("tell", TELL, inputs=inputs, outputs=TOLD)
    (tmp_path / "f").touch()
    result = run("program:tell", {"p": "f", "ps": "f,f", "s": "f", "n": 1.5, "j": {"a": 1}})
    told = json.loads(result.output("tell", "told").read_text())
    types = {"p": "PosixPath", "ps": "list", "s": "str", "n": "float", "j": "dict", "none": "NoneType"}
    assert told["types"] == types
    assert told["stdin"] == ""
    assert told["home"] == str(tmp_path / "home")
    assert told["cwd"].startswith(str(tmp_path / "home/work"))
    assert told["group"] != os.getpgid(0)


def test_a_program_has_no_child_of_ours_to_wait_for(toys):
    code = """
        import os
        def run(out):
            try:
                os.wait()
            except ChildProcessError:
                return
            raise SystemExit(1)
    """
    toys.program("waits", code, timeout_s=20)
    assert run("program:waits").status == "ok"


def test_a_step_stays_locked_as_long_as_its_program_lives(toys, tmp_path):
    code = """
        from pathlib import Path
        def run(out):
            for link in Path("/proc/self/fd").iterdir():
                print(link.readlink() if link.is_symlink() else "closed")
    """
    toys.program("lists", code)
    cache = Cache(tmp_path / "home", FileHashes(tmp_path / "home/hashes.sqlite"))
    with cache.lock("a" * 64, lambda: None) as lock:
        work = cache.start("a" * 64, keep=False)
        execute(Call(find("program:lists"), {}, work), keep=(lock,))
        assert f"{tmp_path}/home/locks/{'a' * 64}" in (work / "log.txt").read_text()
    cache.hashes.close()


def test_children_that_a_finished_program_leaves_behind_are_ended(toys, tmp_path):
    code = """
        import subprocess
        def run(out):
            (out / "pid").write_text(str(subprocess.Popen(["sleep", "300"]).pid))
    """
    toys.program("leaves", code, outputs={"pid": {"type": "file", "path": "pid"}})
    pid = int(run("program:leaves").output("leaves", "pid").read_text())
    deadline = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sh", "-c", "echo one; echo two >&2; exit 7"], r"failed \(exit code 7\): got 'two'"),
        (["sh", "-c", "kill -9 $$"], r"was killed \(signal 9\)"),
        (["no-such-program-anywhere"], r"failed \(exit code 127\).*not found"),
    ],
    ids=["exit code", "signal", "no such program"],
)
def test_commands_fail_in_one_line_that_names_the_log(toys, words, message):
    toys.component("program", "c", entry={"command": words})
    with pytest.raises(StepError, match=message) as caught:
        run("program:c")
    assert "log.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_on_a_terminal_the_programs_stderr_passes_through(toys):
    import pty

    toys.program(
        "bar", "import sys\ndef run(out):\n    print('isatty', sys.stderr.isatty(), file=sys.stderr)\n"
    )
    parent, child = pty.openpty()
    code = "from holdfast.hub import run; run('program:bar')"
    done = subprocess.run([sys.executable, "-c", code], stderr=child, check=True)
    os.close(child)
    assert done.returncode == 0
    assert b"isatty True" in os.read(parent, 4096)
    os.close(parent)
