"""Executors by name; a workflow's steps on Dask workers, one of which is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.core.errors import InfrastructureError, UsageError
from holdfast.hub import executors, run

STEPS = 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slurm", r"start `dask scheduler` .* --executor dask:tcp://HOST:8786"),
        ("ray", "one of local, dask, dask:tcp://HOST:PORT, slurm, got 'ray'"),
        ("dask:8786", "got 'dask:8786'"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(UsageError, match=message), executors.executor(name):
        pass


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install holdfast\[cluster\]"), executors.executor("dask"):
        pass


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_S", 0.2)
    with pytest.raises(InfrastructureError, match=r"tcp://127.0.0.1:1.*an answer"):
        with executors.executor("dask:tcp://127.0.0.1:1"):
            pass


def test_any_executor_runs_steps_and_bounds_those_in_flight(toys, statuses):
    toys.shell()
    step = {"id": "add", "uses": "program:add", "with": {"a": {"from": "matrix.a"}}}
    toys.component("workflow", "w", steps=[step | {"matrix": {"axes": {"a": [1, 2, 3]}}}])
    with ThreadPoolExecutor(2) as pool:
        result = run("workflow:w", executor=pool, workers=1)
    assert [record.value for record in result.records] == [2, 3, 4]
    assert set(statuses(result).values()) == {"ran"}
    assert set(statuses(run("workflow:w")).values()) == {"hit"}


class Broken(ThreadPoolExecutor):
    """Loses every task."""

    def submit(self, function, /, *arguments, **options):
        def lose() -> None:
            raise RuntimeError("worker lost")

        return super().submit(lose)


def test_a_task_that_is_lost_is_an_infrastructure_error(toys):
    toys.add()
    with Broken(1) as pool, pytest.raises(InfrastructureError, match="step add: lost by its executor"):
        run("program:add", {"a": 1}, executor=pool)


SLEEPY = """
    import os, time
    def run(out, *, n):
        with open(out.parent.parent.parent / "starts.txt", "a") as log:
            log.write(f"{n} {os.getppid()}\\n")
        time.sleep(0.5)
        if n == 3:
            os.abort()
        (out / "n.txt").write_text(str(n))
"""


@pytest.mark.slow
def test_a_dask_worker_is_killed_in_the_middle_and_nothing_is_lost_or_done_twice(toys, tmp_path, statuses):
    pytest.importorskip("distributed")
    outputs = {"n": {"type": "file", "path": "n.txt"}}
    toys.program("sleepy", SLEEPY, inputs={"n": {"type": "integer"}}, outputs=outputs)
    step = {"id": "s", "uses": "program:sleepy", "with": {"n": {"from": "matrix.n"}}}
    axes = {"n": [n for n in range(STEPS) if n != 3]}
    toys.component("workflow", "w", steps=[step | {"matrix": {"axes": axes}}])
    log = tmp_path / "home/starts.txt"
    with executors.executor("dask", workers=2) as pool:
        workers = dict(pool.submit(_me).result() for _ in range(8))

        def kill(event):
            if event.kind == "ran" and len(killed) == 0:
                killed.append(_kill_busy_worker(log, list(workers)))

        killed = []
        result = run("workflow:w", executor=pool, workers=2, on_event=kill)
        assert killed[0] in workers
        assert set(statuses(result).values()) <= {"ran", "hit"}
        assert [result.output(f"s[n={n}]", "n").read_text() for n in axes["n"]] == [str(n) for n in axes["n"]]
        starts = [line.split()[0] for line in log.read_text().splitlines()]
        # The program that the killed worker was running was ended with it, and started once more elsewhere.
        assert len(starts) <= STEPS - 1 + 2
        assert not list((tmp_path / "home/work").glob("*"))
        # A crash of the program is its result: it is told at once, and not tried again.
        toys.component("workflow", "w", steps=[step | {"with": {"n": 3}}])
        with pytest.raises(Exception, match=r"step s: crashed \(signal 6\)"):
            run("workflow:w", executor=pool, workers=2)
        assert [line.split()[0] for line in log.read_text().splitlines()].count("3") == 1


def _me() -> tuple[int, float]:
    time.sleep(0.1)
    return os.getpid(), time.time()


def _kill_busy_worker(log, workers: list[int]) -> int:
    """Kill, by SIGKILL, a worker in whose program a step is under way."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for line in reversed(log.read_text().splitlines()):
            parent = int(line.split()[1])
            if parent in workers and os.path.exists(f"/proc/{parent}"):
                os.kill(parent, signal.SIGKILL)
                return parent
        time.sleep(0.01)
    raise AssertionError("no step was under way")
