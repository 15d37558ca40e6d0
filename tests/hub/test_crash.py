"""Killed, interrupted, crowded, out of space: nothing is lost, and nothing half-done is seen as done."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from holdfast.core.errors import StorageError
from holdfast.core.result import read_records
from holdfast.hub import cache, run, store

STEPS = 12
SLOW = f"""
    import json, time
    from holdfast.core import jsonl
    from holdfast.core.result import Record, write_records

    def run(out, *, n):
        done = list(jsonl.read(out / "done.jsonl")) if (out / "done.jsonl").exists() else []
        with jsonl.Appender(out / "done.jsonl") as log:
            for i in range(len(done), {STEPS}):
                time.sleep(0.02)
                log.append({{"i": i}})
        (out / "total.txt").write_text(str(n + sum(line["i"] for line in jsonl.read(out / "done.jsonl"))))
        write_records(out / "records.jsonl", [Record(metric="total", value=n, unit="1", direction="none")])
"""
RUN = """
    import sys
    from holdfast.hub import run
    result = run("workflow:slow", force="force" in sys.argv, on_event=lambda e: print(e.kind, flush=True))
    print([step.status for step in result.steps])
"""


@pytest.fixture
def slow(toys):
    """``workflow:slow``: two resumable steps of a quarter of a second."""
    outputs = {"total": {"type": "file", "path": "total.txt"}}
    toys.program("slow", SLOW, inputs={"n": {"type": "integer"}}, outputs=outputs, resumable=True)
    steps = [{"id": f"s{n}", "uses": "program:slow", "with": {"n": n}} for n in (1, 2)]
    toys.component("workflow", "slow", steps=steps)
    return toys


def start(*arguments: str, limit: int | None = None) -> subprocess.Popen[str]:
    # A shell may have started the tests with Ctrl-C ignored, which children inherit.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + dedent(RUN)
    if limit is not None:
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def processes_of(home: Path) -> list[str]:
    """Command lines of running processes that mention ``home``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
        except OSError:
            continue
        if str(home) in command:
            found.append(command)
    return found


def gone(home: Path) -> bool:
    deadline = time.monotonic() + 5
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not processes_of(home)


def test_killed_at_random_moments_a_rerun_continues_and_ends_the_same(slow, tmp_path):
    rng = random.Random(0)
    for _ in range(6):
        process = start()
        time.sleep(rng.uniform(0.2, 0.7))
        process.kill()
        process.communicate()
        assert gone(tmp_path / "home"), "programs of a killed runner must end"
        for folder in (tmp_path / "home").glob("cache/*/*"):
            assert (folder / "meta.json").exists()
        for folder in (tmp_path / "home").glob("experiments/*/[!.]*"):
            assert json.loads((folder / "run.json").read_text())["status"] == "ok"
    result = run("workflow:slow")
    expected = sum(range(STEPS))
    assert [result.output(s, "total").read_text() for s in ("s1", "s2")] == [
        str(expected + 1),
        str(expected + 2),
    ]
    for step in result.steps:
        lines = (Path(step.outputs["total"]).parent / "done.jsonl").read_text().splitlines()
        assert [json.loads(line)["i"] for line in lines] == list(range(STEPS))
    assert store.rebuild() == []


def test_killed_in_the_middle_of_a_program_that_cannot_resume(toys, tmp_path):
    code = """
        import time
        def run(out):
            assert not list(out.iterdir()), "left over"
            (out / "half.txt").write_text("half")
            time.sleep(60 if not (out.parent.parent.parent / "again").exists() else 0)
    """
    toys.program("slow", code, outputs={"half": {"type": "file", "path": "half.txt"}})
    toys.component("workflow", "slow", steps=[{"id": "s", "uses": "program:slow"}])
    process = start()
    while not list((tmp_path / "home").glob("work/*/outputs/half.txt")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert gone(tmp_path / "home")
    (tmp_path / "home/again").touch()
    assert run("workflow:slow").steps[0].status == "ran"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_the_program_is_told_and_a_rerun_continues(slow, tmp_path, number):
    process = start()
    while not list((tmp_path / "home").glob("work/*/outputs/done.jsonl")):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert gone(tmp_path / "home")
    (folder,) = (tmp_path / "home/experiments/slow").iterdir()
    described = json.loads((folder / "run.json").read_text())
    assert (described["status"], described["steps"][-1]["status"]) == ("interrupted", "interrupted")
    (done,) = (tmp_path / "home").glob("work/*/outputs/done.jsonl")
    kept = done.read_text().splitlines()
    assert kept
    result = run("workflow:slow")
    assert result.steps[0].reasons == ["interrupted in the last run"]
    finished = Path(result.steps[0].outputs["total"]).with_name("done.jsonl").read_text().splitlines()
    assert finished[: len(kept)] == kept
    assert len(finished) == STEPS


def test_two_runners_share_the_work(slow):
    both = [start(), start()]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    ran = sum(output.count("ran\n") for output in outputs)
    hit = sum(output.count("hit\n") for output in outputs)
    assert (ran, hit) == (2, 2)
    assert sum(output.count("waiting\n") for output in outputs) >= 1


def test_a_full_disk_in_a_program_is_a_storage_error_and_the_rest_is_kept(toys, tmp_path):
    code = "def run(out):\n    (out / 'big.bin').write_bytes(bytes(3_000_000))\n"
    toys.add()
    toys.program("slow", code, outputs={"big": {"type": "file", "path": "big.bin"}})
    steps = [{"id": "a", "uses": "program:add", "with": {"a": 1}}, {"id": "s", "uses": "program:slow"}]
    toys.component("workflow", "slow", steps=steps)
    process = start(limit=1_000_000)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "StepError: step s: cannot write" in errors
    (folder,) = (tmp_path / "home/experiments/slow").iterdir()
    assert len(read_records(folder / "records.jsonl")) == 1
    assert [step.status for step in run("workflow:slow").steps] == ["hit", "ran"]


def test_a_full_disk_when_a_result_is_kept_leaves_no_result(slow, tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "write_json", full)
        with pytest.raises(StorageError):
            run("workflow:slow")
    assert not list((tmp_path / "home").glob("cache/*/*"))
    assert [step.status for step in run("workflow:slow").steps] == ["ran", "ran"]
