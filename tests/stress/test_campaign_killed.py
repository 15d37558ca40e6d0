"""A campaign killed without warning loses nothing and ends in the same records."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from stress_support import lines, stable

from holdfast.core.result import read_records

SCRIPT = """
import sys
from pathlib import Path
from stress_support import ArrayStream, GuardedNet
from holdfast.core.result import write_records
from holdfast.stress import FGSM, BitFlips, campaign
campaign._FLUSH_S = 0.1
flips = BitFlips(layers=("conv1", "block.2", "head"))
out = Path(sys.argv[1])
records = campaign.run(
    GuardedNet(), [flips, BitFlips(site="weight", bits="all"), FGSM(eps=0.1)], ArrayStream(640),
    trials=1500, batch_size=4, seed=9, out=out,
)
write_records(out / "records.jsonl", records)
"""


def _start(out: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-c", SCRIPT, str(out)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})


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
        while process.poll() is None and finished(out) <= before:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.2))
        assert process.poll() is None, "the campaign ended before it could be killed"
        process.kill()
        process.wait()
        seen.append(len(lines(out)))
    assert seen == sorted(set(seen))
    assert _start(out).wait() == 0
    assert whole.wait() == 0
    first, second = (stable(read_records(folder / "records.jsonl")) for folder in (tmp_path / "whole", out))
    assert len(first) > 50
    assert first == second
