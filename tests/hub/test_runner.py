"""Runs: from the cache or anew, recorded, published, and every failure in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.core.errors import ComponentError, StepError, StorageError, UsageError
from holdfast.core.result import read_records
from holdfast.hub import find, run

SKIPPING = [
    {
        "id": "add",
        "uses": "program:add",
        "with": {"a": 1},
        "when": {"input": "wanted", "equals": True},
    },
    {
        "id": "count",
        "uses": "program:count",
        "with": {"files": [{"from": "add.sum"}], "one": {"from": "add.sum"}},
    },
]
COUNT = """
    def run(out, *, files, one):
        (out / "count.txt").write_text(f"{len(files)} {one is None}")
"""


def test_a_workflow_runs_and_its_rerun_is_served_from_the_cache(toys, tmp_path, statuses):
    toys.chain()
    first = run("workflow:chain", out=tmp_path / "out")
    assert statuses(first) == {"add": "ran", "double": "ran"}
    assert (tmp_path / "out/result/double.txt").read_text() == "6"
    again = run("workflow:chain", out=tmp_path / "out")
    assert statuses(again) == {"add": "hit", "double": "hit"}
    assert [record.to_json() for record in again.records] == [record.to_json() for record in first.records]
    assert again.steps[0].made == first.steps[0].made
    assert json.loads((tmp_path / "out/run.json").read_text())["id"] == again.id
    assert read_records(tmp_path / "out/records.jsonl") == again.records
    assert read_records(again.folder / "records.jsonl") == again.records
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result", "run.json", "records.jsonl"}


def test_records_name_program_and_workflow(toys):
    toys.chain()
    record = run("workflow:chain").records[0]
    for name in ("program:add", "workflow:chain"):
        assert record.components[name].hash == find(name).hash


def test_only_what_changed_runs(toys, statuses):
    toys.chain()
    run("workflow:chain", {"a": "1"})
    assert statuses(run("workflow:chain", {"a": 5})) == {"add": "ran", "double": "ran"}
    code = toys.double() / "main.py"
    code.write_text(code.read_text().replace("2 *", "3 *"))
    assert statuses(run("workflow:chain", {"a": 5})) == {"add": "hit", "double": "ran"}
    assert run("workflow:chain", {"a": 5}).output("double", "double").read_text() == "21"


def test_a_changed_step_with_the_same_result_stops_there(toys, statuses):
    toys.chain()
    run("workflow:chain")
    (toys.add() / "notes.txt").write_text("a new file of the component")
    # The record's component hash is new, the file that double reads is not.
    assert statuses(run("workflow:chain")) == {"add": "ran", "double": "hit"}


def test_force_runs_everything_again_and_replaces_the_result(toys, statuses):
    toys.chain()
    run("workflow:chain")
    forced = run("workflow:chain", force=True)
    assert statuses(forced) == {"add": "ran", "double": "ran"}
    assert forced.steps[0].reasons == ["forced"]
    assert statuses(run("workflow:chain")) == {"add": "hit", "double": "hit"}


def test_a_program_runs_alone(toys, tmp_path):
    toys.double()
    (tmp_path / "n.txt").write_text("21")
    result = run("program:double", {"source": "n.txt"}, out=tmp_path / "out")
    assert (tmp_path / "out/double.txt").read_text() == "42"
    assert result.component == "program:double"


@pytest.mark.parametrize("kind", ["source", "string"])
def test_a_relative_path_reaches_a_program_as_an_absolute_one(toys, tmp_path, kind):
    code = "def run(out, *, what):\n    (out / 'what.txt').write_text(what)\n"
    outputs = {"what": {"type": "file", "path": "what.txt"}}
    toys.program("tell", code, inputs={"what": {"type": "source"}}, outputs=outputs)
    steps = [{"id": "tell", "uses": "program:tell", "with": {"what": {"from": "inputs.data"}}}]
    toys.component("workflow", "w", inputs={"data": {"type": kind}}, steps=steps)
    (tmp_path / "n.txt").write_text("1")
    assert run("workflow:w", {"data": "digits"}).output("tell", "what").read_text() == "digits"
    result = run("workflow:w", {"data": "n.txt"})
    assert result.output("tell", "what").read_text() == str(tmp_path / "n.txt")
    (tmp_path / "n.txt").write_text("2")
    assert run("workflow:w", {"data": "n.txt"}).steps[0].reasons == ["file what: changed"]


def test_a_program_that_is_never_cached(toys, statuses):
    toys.add(cache=False)
    for _ in range(2):
        assert statuses(run("program:add", {"a": 1})) == {"add": "ran"}


def test_a_program_not_written_for_holdfast(toys, tmp_path):
    script = (
        "import sys; open(sys.argv[1] + '/o.txt', 'w').write(' '.join(sys.argv[2:])); open('here.txt', 'w')"
    )
    toys.component(
        "program",
        "stranger",
        files={"script.py": script},
        inputs={
            "n": {"type": "integer"},
            "files": {"type": "paths"},
            "flag": {"type": "boolean", "default": True},
            "what": {"type": "json", "default": {"k": [1]}},
        },
        outputs={"o": {"type": "file", "path": "o.txt"}, "cwd": {"type": "file", "path": "here.txt"}},
        entry={
            "command": [
                "{python}",
                "script.py",
                "{out}",
                "n={inputs.n}",
                "{inputs.files}",
                "{inputs.flag}",
                "{inputs.what}",
            ]
        },
    )
    (tmp_path / "a b").write_text("1")
    (tmp_path / "c").write_text("2")
    result = run("program:stranger", {"n": 3, "files": "a b,c"})
    expected = f'n=3 {tmp_path / "a b"} {tmp_path / "c"} true {{"k": [1]}}'
    assert result.output("stranger", "o").read_text() == expected


@pytest.mark.parametrize(("wanted", "text"), [(True, "1 False"), (False, "0 True")], ids=["ran", "skipped"])
def test_a_condition_skips_a_step_and_nulls_its_outputs(toys, tmp_path, wanted, text):
    toys.add()
    toys.program(
        "count",
        COUNT,
        inputs={"files": {"type": "paths"}, "one": {"type": "path", "optional": True}},
        outputs={"count": {"type": "file", "path": "count.txt"}},
    )
    toys.component(
        "workflow",
        "w",
        inputs={"wanted": {"type": "boolean"}},
        steps=SKIPPING,
        outputs={"sum.txt": {"from": "add.sum"}, "count.txt": {"from": "count.count"}},
    )
    result = run("workflow:w", {"wanted": wanted}, out=tmp_path / "out")
    assert result.output("count", "count").read_text() == text
    assert (tmp_path / "out/sum.txt").exists() == wanted
    assert bool(result.records) == wanted


def test_step_inputs_can_be_set(toys):
    toys.chain(choices={"add.b": {"type": "integer", "low": 1, "high": 9}})
    result = run("workflow:chain", {"add.b": "7"})
    assert result.output("add", "sum").read_text() == "8"
    assert result.inputs == {"a": 1, "add.b": 7}
    with pytest.raises(UsageError, match=r"unknown input 'add.c': expected one of add.a, add.b"):
        run("workflow:chain", {"add.c": 1})
    with pytest.raises(UsageError, match=r"unknown input 'zzz.c': expected one of a, add.b"):
        run("workflow:chain", {"zzz.c": 1})
    with pytest.raises(UsageError, match=r"input 'add.b': expected an integer, got 'x'"):
        run("workflow:chain", {"add.b": "x"})


def test_folders_are_published_whole_and_replaced(toys, tmp_path):
    code = "def run(out, *, n):\n    (out / 'd').mkdir()\n    (out / 'd' / f'{n}.txt').write_text('x')\n"
    outputs = {"d": {"type": "folder", "path": "d"}}
    toys.program("folders", code, inputs={"n": {"type": "integer"}}, outputs=outputs)
    for n in (1, 2):
        run("program:folders", {"n": n}, out=tmp_path / "out")
        assert [path.name for path in (tmp_path / "out/d").iterdir()] == [f"{n}.txt"]


FAILURES = {
    "data error": (
        "from holdfast.core.errors import DataError\n    raise DataError('x.h5', got='NaN')",
        "x.h5: got NaN",
        4,
    ),
    "usage error": (
        "from holdfast.core.errors import UsageError\n    raise UsageError('bad call')",
        "bad call",
        2,
    ),
    "full disk": ("raise OSError(28, 'No space left on device', 'big.bin')", "cannot write big.bin", 6),
    "exception": ("raise ValueError('boom')", "got 'ValueError: boom'", 5),
    "exit code": ("import sys; print('sorry'); sys.exit(3)", "failed (exit code 3): got 'sorry'", 5),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed (signal 9)", 5),
    "segmentation fault": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "crashed (signal 11)",
        5,
    ),
    "no output": ("pass", "output 'o' is missing: expected the file o.txt", 5),
    "half a record": ("(out / 'records.jsonl').write_text('{}\\n')", "output 'o' is missing", 5),
    "bad record": (
        "(out / 'o.txt').touch(); (out / 'records.jsonl').write_text('{}\\n')",
        "holdfast.record/1",
        4,
    ),
    "syntax error": ("return )", "SyntaxError", 5),
}


@pytest.mark.parametrize(("body", "message", "code"), FAILURES.values(), ids=FAILURES)
def test_failures_are_one_line_with_an_exit_code_and_are_recorded(toys, tmp_path, body, message, code):
    toys.add()
    toys.program("bad", f"def run(out):\n    {body}\n", outputs={"o": {"type": "file", "path": "o.txt"}})
    steps = [{"id": "add", "uses": "program:add", "with": {"a": 1}}, {"id": "bad", "uses": "program:bad"}]
    toys.component("workflow", "w", steps=steps, outputs={"o.txt": {"from": "bad.o"}})
    for _ in range(2):
        with pytest.raises(StepError) as caught:
            run("workflow:w", out=tmp_path / "out")
        assert message in str(caught.value)
        assert str(caught.value).startswith("step bad: ")
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == code
    assert list((tmp_path / "out").iterdir()) == []
    kept = sorted((tmp_path / "home/experiments/w").iterdir())
    described = [json.loads((folder / "run.json").read_text()) for folder in kept]
    assert [run["status"] for run in described] == ["failed", "failed"]
    assert [step["status"] for step in described[1]["steps"]] == ["hit", "failed"]
    assert message in described[1]["error"]
    assert len(read_records(kept[1] / "records.jsonl")) == 1


def test_a_step_that_takes_too_long_is_ended_with_all_its_processes(toys, tmp_path):
    code = """
        import subprocess, time
        def run(out):
            print(subprocess.Popen(["sleep", "300"]).pid, flush=True)
            time.sleep(300)
    """
    toys.program("slow", code, timeout_s=1)
    with pytest.raises(StepError, match="timed out after 1 s"):
        run("program:slow")
    (log,) = (tmp_path / "home/work").glob("*/log.txt")
    assert has_ended(int(log.read_text()))


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or only waits for its parent to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_bad_calls_fail_before_anything_runs(toys, tmp_path):
    toys.chain()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="expected a folder"):
        run("workflow:chain", out=tmp_path / "file")
    with pytest.raises(UsageError, match="unknown input 'zzz'"):
        run("workflow:chain", {"zzz": 1})
    toys.component(
        "paper",
        "p",
        claims=[{"id": "c", "text": "", "source": "", "value": 1, "unit": "", "status": "not run"}],
    )
    with pytest.raises(UsageError, match="expected a paper that names its workflow"):
        run("paper:p")
    assert not (tmp_path / "home/experiments").exists()


def test_a_range_is_checked_where_values_arrive(toys):
    toys.add(inputs={"a": {"type": "integer", "maximum": 3}, "b": {"type": "integer", "default": 1}})
    steps = [{"id": "add", "uses": "program:add", "with": {"a": {"from": "inputs.a"}}}]
    toys.component("workflow", "w", inputs={"a": {"type": "integer"}}, steps=steps)
    with pytest.raises(UsageError, match="step 'add' input 'a': expected an integer up to 3, got 4"):
        run("workflow:w", {"a": 4})


def test_a_file_that_shadows_a_standard_module_is_refused(toys):
    toys.component("program", "p", files={"json.py": "def run(out): pass"}, entry={"python": "json.py:run"})
    with pytest.raises(StepError, match="a module name of its own") as caught:
        run("program:p")
    assert caught.value.exit_code == ComponentError.exit_code


def test_run_ids_stay_in_order_when_the_clock_is_set_back(toys, tmp_path):
    toys.add()
    first = run("program:add", {"a": 1})
    ahead = first.folder.with_name("29990101T000000000000-00000000")
    first.folder.rename(ahead)
    second = run("program:add", {"a": 1})
    assert second.id > ahead.name
    assert run("program:add", {"a": 1}).id > second.id


def test_a_strange_folder_among_the_experiments_is_no_run(toys, statuses):
    toys.add()
    (run("program:add", {"a": 1}).folder.parent / "notes").mkdir()
    assert statuses(run("program:add", {"a": 1})) == {"add": "hit"}


def test_a_home_that_cannot_be_written_is_a_storage_error(toys, tmp_path):
    toys.add()
    (tmp_path / "home").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="cannot write"):
        run("program:add", {"a": 1})
    assert (tmp_path / "home").read_text() == "a file, not a folder"


def test_events_tell_what_happens(toys):
    toys.chain()
    events = []
    run("workflow:chain", on_event=events.append)
    run("workflow:chain", on_event=events.append)
    kinds = [(event.kind, event.step, event.index, event.total) for event in events]
    assert kinds[:4] == [
        ("start", "add", 1, 2),
        ("ran", "add", 1, 2),
        ("start", "double", 2, 2),
        ("ran", "double", 2, 2),
    ]
    assert [kind for kind, *_ in kinds[4:]] == ["start", "hit"] * 2


def test_a_full_disk_while_publishing_leaves_nothing_half_written(toys, tmp_path, monkeypatch):
    import shutil

    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    toys.chain()
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageError, match=r"cannot write .*double\.txt: got No space left"):
        run("workflow:chain", out=tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
