"""A campaign killed without warning loses nothing and ends in the same records."""

from __future__ import annotations

import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from stress_support import campaign_of_seconds, lines, stable

from holdfast.core.result import read_records
from holdfast.stress.worker import context


def _start(out: Path) -> BaseProcess:
    process = context().Process(target=campaign_of_seconds, args=(out,))
    process.start()
    return process


def _finish(process: BaseProcess) -> bool:
    process.join()
    return process.exitcode == 0


def finished(out: Path) -> int:
    path = out / "trials.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_five_times_the_records_are_the_same(tmp_path: Path) -> None:
    whole = _start(tmp_path / "whole")
    draw, out, seen = random.Random(4), tmp_path / "killed", []
    for _ in range(5):
        process = _start(out)
        before = finished(out)
        # Killed at a random moment after it has added something, so that five kills hit the work itself.
        while process.is_alive() and finished(out) <= before:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.1))
        assert process.is_alive(), "the campaign ended before it could be killed"
        process.kill()
        process.join()
        seen.append(len(lines(out)))
    assert seen == sorted(set(seen))
    assert _finish(_start(out))
    assert _finish(whole)
    first, second = (stable(read_records(folder / "records.jsonl")) for folder in (tmp_path / "whole", out))
    assert len(first) > 50
    assert first == second
