"""Program ``time-binary``: the wall time of a program, once its output is known to be right."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from holdfast.core.energy import Meter
from holdfast.core.errors import StepError
from holdfast.core.result import Label, Record, write_records
from holdfast.core.stats import median_interval

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def run(
    out: Path,
    *,
    binary: Path,
    reference: Path | None,
    arguments: str,
    repeats: int,
    warmup: int,
    tolerance: float,
    timeout_s: float,
) -> None:
    """Run ``binary`` ``repeats`` times; record the median wall time in ms, and the energy of a run in J.

    Its output must be that of ``reference`` on the same arguments: the same text, or numbers that differ by
    at most ``tolerance`` relative to the larger one. Energy is that of the whole machine, and absent where
    its counters cannot be read. Raises StepError for a wrong output, a failure, or a run that takes longer
    than ``timeout_s``.
    """
    words = shlex.split(arguments)
    with tempfile.TemporaryDirectory() as folder:
        own = executable(binary, Path(folder) / "run")
        text = output_of(own, words, timeout_s)
        if reference is not None:
            expected = output_of(executable(reference, Path(folder) / "reference"), words, timeout_s)
            if not same(text, expected, tolerance):
                raise StepError("wrong result", expected=repr(expected[-120:]), got=repr(text[-120:]))
        for _ in range(warmup):
            output_of(own, words, timeout_s)
        times = []
        meter = Meter()
        for _ in range(repeats):
            start = perf_counter()
            output_of(own, words, timeout_s)
            times.append((perf_counter() - start) * 1e3)
        joules = meter.joules()
    values = np.array(times)
    labels: dict[str, Label] = {"arguments": arguments}
    records = [
        Record(
            metric="wall_time",
            value=float(np.median(values)),
            unit="ms",
            direction="lower",
            n=len(values),
            interval=median_interval(values) if len(values) > 1 else None,
            timed=True,
            labels=labels,
        )
    ]
    if joules:
        records.append(
            Record(
                metric="energy",
                value=sum(joules.values()) / repeats,
                unit="J",
                direction="lower",
                n=repeats,
                timed=True,
                labels={**labels, "sources": ", ".join(joules)},
            )
        )
    write_records(out / "records.jsonl", records)


def same(text: str, expected: str, tolerance: float) -> bool:
    """Whether two outputs say the same: words alike, numbers within ``tolerance`` (relative)."""
    if text == expected:
        return True
    if tolerance <= 0 or _NUMBER.sub("#", text) != _NUMBER.sub("#", expected):
        return False
    pairs = zip(map(float, _NUMBER.findall(text)), map(float, _NUMBER.findall(expected)), strict=True)
    return all(abs(a - b) <= tolerance * max(abs(a), abs(b)) for a, b in pairs)


def executable(binary: Path, copy: Path) -> Path:
    """``binary`` as ``copy``, which may be run."""
    shutil.copyfile(binary, copy)  # what comes from elsewhere may have lost its permission to run
    copy.chmod(0o755)
    return copy


def output_of(binary: Path, words: list[str], timeout_s: float) -> str:
    """What ``binary`` prints, called with ``words``. Raises StepError if it fails or takes too long."""
    try:
        done = subprocess.run([str(binary), *words], capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise StepError(f"{binary.name} took longer than {timeout_s:g} s") from error
    if done.returncode:
        raise StepError(f"{binary.name} ended with {done.returncode}", got=done.stderr[-300:] or None)
    return done.stdout
