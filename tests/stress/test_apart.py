"""Trials on Dask workers: those that kill their process are crashes, and the workers live."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stress_support import lines, make_dying, run, stable

from holdfast.hub import executors
from holdfast.stress import BitFlips
from holdfast.stress.apart import blames_tasks


def test_only_dask_blames_the_tasks_of_a_dead_worker() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert not blames_tasks(pool)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_crashing_trials_and_a_killed_worker_on_dask(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    flips = BitFlips(site="weight", bits=(30, 0, 1, 2, 3, 4, 5, 6), layers=("net.conv1",))
    options = {"trials": 64, "chunk": 4}
    with executors.executor("dask", workers=2) as pool:
        workers = {pool.submit(_me).result() for _ in range(8)}
        assert len(workers) == 2
        victim = min(workers)
        killer = threading.Thread(target=_kill_when, args=(tmp_path / "dask/trials.jsonl", victim))
        killer.start()
        found = run(tmp_path / "dask", make_dying, [flips], executor=pool, **options)
        killer.join()
        assert not os.path.exists(f"/proc/{victim}")
        assert min(workers - {victim}) == max(workers)
        assert os.path.exists(f"/proc/{max(workers)}"), "a worker must outlive its trials"
    kept = lines(tmp_path / "dask")
    assert sorted(line["trial"] for line in kept) == list(range(64)), "nothing lost, nothing twice"
    assert Counter(line["outcome"] for line in kept)["crash"] == 8
    truth = run(tmp_path / "here", make_dying, [flips], limit_s=60.0, **options)
    assert stable(found) == stable(truth)


def _me() -> int:
    time.sleep(0.1)
    return os.getpid()


def _kill_when(file: Path, process: int) -> None:
    """Kill ``process`` once the first results are kept."""
    deadline = time.monotonic() + 120
    while not (file.exists() and file.stat().st_size > 200) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
