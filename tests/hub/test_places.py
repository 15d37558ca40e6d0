"""Steps at the same time: order, failures, interrupts, resources; limits of a step; retries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.core.errors import InfrastructureError, StepError
from holdfast.hub import run, work
from holdfast.hub.kinds import Resources
from holdfast.hub.places import Threads

SHELL = {"n": {"type": "integer"}}
OUT = {"n": {"type": "file", "path": "n.txt"}}


def shell(toys, script, **fields):
    """``program:sh``: a shell script that is given ``n``."""
    entry = {"command": ["/bin/sh", "main.sh", "{inputs.n}"]}
    return toys.component(
        "program", "sh", entry=entry, inputs=SHELL, outputs=OUT, files={"main.sh": script}, **fields
    )


def steps(toys, count, **more):
    """``workflow:w``: as many cells of ``program:sh``."""
    step = {"id": "s", "uses": "program:sh", "with": {"n": {"from": "matrix.n"}}}
    toys.component("workflow", "w", steps=[step | {"matrix": {"axes": {"n": list(range(count))}}} | more])


def test_independent_steps_meet_and_are_told_in_the_order_of_the_plan(toys, tmp_path):
    # Each of two waits for the other: alone, neither would end.
    shell(
        toys, f"touch {tmp_path}/$1; while [ ! -e {tmp_path}/$((1 - $1)) ]; do sleep 0.01; done; echo > n.txt"
    )
    steps(toys, 2, timeout_s=20)
    result = run("workflow:w", workers=2)
    assert [step.id for step in result.steps] == ["s[n=0]", "s[n=1]"]
    assert [step.status for step in run("workflow:w", workers=2).steps] == ["hit", "hit"]


def test_after_a_failure_what_runs_is_finished_and_nothing_else_starts(toys, tmp_path):
    shell(toys, f"[ $1 = 0 ] && exit 3; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo > n.txt")
    steps(toys, 4)

    def go(event):
        if event.kind == "failed":
            (tmp_path / "go").touch()

    with pytest.raises(StepError, match=r"step s\[n=0\]: failed \(exit code 3\)"):
        run("workflow:w", workers=2, on_event=go)
    (kept,) = (tmp_path / "home/experiments/w").iterdir()
    described = json.loads((kept / "run.json").read_text())["steps"]
    assert [(step["id"], step["status"]) for step in described] == [("s[n=0]", "failed"), ("s[n=1]", "ran")]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_reaches_all_running_steps(toys, tmp_path, number):
    shell(toys, f"touch {tmp_path}/$1; sleep 60; echo > n.txt")
    steps(toys, 3)
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from holdfast.hub import run; run('workflow:w', workers=2)"
    )
    runner = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not all((tmp_path / name).exists() for name in "01"):
        time.sleep(0.01)
    runner.send_signal(number)
    _, errors = runner.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    (kept,) = (tmp_path / "home/experiments/w").iterdir()
    described = json.loads((kept / "run.json").read_text())
    assert (described["status"], [step["status"] for step in described["steps"]]) == (
        "interrupted",
        ["interrupted", "interrupted"],
    )
    assert not (tmp_path / "2").exists()


def test_steps_share_cores_and_memory():
    class Never:
        def submit(self, *arguments, **options):
            return work_of.pop()

    from concurrent.futures import Future

    work_of = [Future(), Future()]
    places = Threads(Never(), 3)
    two = Resources(cores=2)
    assert places.fits(Resources(cores=99)), "alone, a step may ask for more than there is"
    places.start(work.Work("a", None, {}, {}, "k", None, resources=two), lambda: None)
    assert not places.fits(two)
    assert places.fits(Resources(cores=1))
    assert not places.fits(Resources(memory_mb=1e12))
    assert places.fits(None)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no processor affinity on this system")
def test_a_step_is_pinned_to_its_cores(toys):
    shell(toys, "nproc > n.txt; echo $OMP_NUM_THREADS >> n.txt")
    steps(toys, 1, resources={"cores": 1})
    before = os.sched_getaffinity(0)
    result = run("workflow:w")
    assert result.output("s[n=0]", "n").read_text().split() == ["1", "1"]
    assert os.sched_getaffinity(0) == before


GREEDY = {
    "at once": ("x = bytearray(300_000_000); time.sleep(20)", r"failed \(exit code 1\): got 'MemoryError'"),
    "in several processes": (
        "import subprocess, sys\n"
        "    code = 'import time; x = bytearray(60_000_000); time.sleep(20)'\n"
        "    [subprocess.Popen([sys.executable, '-c', code]) for _ in range(3)]; time.sleep(20)",
        "used more than 150 MB",
    ),
}


@pytest.mark.parametrize(("code", "message"), GREEDY.values(), ids=GREEDY)
def test_a_step_that_takes_too_much_memory_is_ended(toys, code, message):
    toys.program("greedy", f"import time\ndef run(out):\n    {code}\n")
    step = {"id": "s", "uses": "program:greedy", "resources": {"memory_mb": 150}, "timeout_s": 15}
    toys.component("workflow", "w", steps=[step])
    with pytest.raises(StepError, match=message) as caught:
        run("workflow:w")
    assert "timed out" not in str(caught.value)


def test_a_step_has_its_own_timeout(toys):
    shell(toys, "sleep 60", timeout_s=50)
    steps(toys, 1, timeout_s=0.1)
    with pytest.raises(StepError, match=r"timed out after 0.1 s"):
        run("workflow:w")


KINDS = {
    "killed from outside": ("kill -9 $$", 3, "ran", 3),
    "killed for good": ("kill -9 $$", 9, "was killed", 3),
    "crashed": ("kill -SEGV $$", 2, "crashed", 1),
    "failed": ("exit 1", 2, "failed", 1),
}


@pytest.mark.parametrize(("end", "good", "outcome", "tries"), KINDS.values(), ids=KINDS)
def test_only_infrastructure_errors_are_tried_again(toys, tmp_path, monkeypatch, end, good, outcome, tries):
    monkeypatch.setattr(work, "BACKOFF_S", 0.001)
    count = f"echo x >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) -ge {good} ]"
    shell(toys, f"{count} || {end}; echo > n.txt")
    steps(toys, 1, retries=2)
    if outcome == "ran":
        result = run("workflow:w")
        assert (result.steps[0].status, result.steps[0].attempts) == ("ran", tries)
    else:
        with pytest.raises(StepError, match=outcome) as caught:
            run("workflow:w")
        assert isinstance(caught.value, InfrastructureError) == (outcome == "was killed")
    assert len((tmp_path / "tries").read_text().split()) == tries


def test_files_made_by_threads_keep_their_permissions(tmp_path):
    from holdfast.core.paths import write_text

    before = os.umask(0o022)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: write_text(tmp_path / str(n), ""), range(200)))
        assert threading.active_count() >= 1
        assert os.umask(0o022) == 0o022
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
    finally:
        os.umask(before)
