"""What detecting installed software takes: ``python -m benchmarks.detect_speed``.

``holdfast detect`` of everything and of Python, with nothing remembered and with all remembered, as processes
of their own; in turns with what CK (``ck``) and CMX (``cmind`` with ``cmx4mlops``) can do offline for Python.
Those are installed from the package registry into an environment of their own, or found in the one that
``HOLDFAST_PEERS`` names. Every call first has to find the right thing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from holdfast.core.result import Record, write_records
from holdfast.core.stats import bootstrap

RECORDS = Path(__file__).parent / "records" / "detect_speed.jsonl"
ROUNDS = 5
PEERS = ("ck", "cmind", "cmx4mlops")
CMX = ("run", "script", "--tags=get,python3", "--quiet")


def main() -> None:
    """Measure, print and record."""
    table = Table("what", "seconds", "interval", "found")
    records = []
    with tempfile.TemporaryDirectory() as name:
        calls = holdfast_calls(Path(name)) | cmx_calls(Path(name))
        found = {what: call() for what, call in calls.items()}
        times: dict[str, list[float]] = {what: [] for what in calls}
        for _ in range(ROUNDS):
            for what, call in calls.items():
                start = perf_counter()
                call()
                times[what].append(perf_counter() - start)
    for what, seconds in times.items():
        interval = bootstrap(np.array(seconds), seed=0)
        tool, _, state = what.partition(": ")
        records.append(
            Record(
                metric="detection_time",
                value=float(np.median(seconds)),
                unit="s",
                direction="lower",
                n=len(seconds),
                interval=interval,
                timed=True,
                labels={"tool": tool, "what": state, "found": found[what]},
            )
        )
        bounds = f"{interval.low:.3g} to {interval.high:.3g}"
        table.add_row(what, f"{np.median(seconds):.3g}", bounds, found[what])
    write_records(RECORDS, records)
    Console(width=120).print(table)


def holdfast_calls(folder: Path) -> dict[str, Callable[[], str]]:
    """``holdfast detect`` by what it is asked; each call returns what it found, in words."""
    environment = {**os.environ, "HOLDFAST_HOME": str(folder / "home")}

    def detect(*words: str) -> str:
        command = [sys.executable, "-m", "holdfast.cli", "detect", *words, "--json"]
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
        outcomes = json.loads(done.stdout)
        pythons = [
            each for outcome in outcomes for each in outcome["found"] if outcome["component"] == "soft:python"
        ]
        assert platform.python_version() in {each["version"] for each in pythons}
        some = sum(bool(outcome["found"]) for outcome in outcomes)
        count = sum(len(outcome["found"]) for outcome in outcomes)
        return f"{count} installations" + (f" of {some} in {len(outcomes)}" if len(outcomes) > 1 else "")

    return {
        "holdfast: all, anew": lambda: detect("all", "--refresh"),
        "holdfast: all, remembered": lambda: detect("all"),
        "holdfast: python, anew": lambda: detect("python", "--refresh"),
        "holdfast: python, remembered": lambda: detect("python"),
    }


def cmx_calls(folder: Path) -> dict[str, Callable[[], str]]:
    """The same by CMX; empty, with the reason printed, where that cannot be had; CK's, too."""
    peers = Path(os.environ.get("HOLDFAST_PEERS") or folder / "peers")
    if not peers.exists():
        venv.create(peers, with_pip=True)
        installed = subprocess.run(
            [peers / "bin/pip", "install", "-q", *PEERS], capture_output=True, text=True
        )
        if installed.returncode:
            print(f"not compared with {', '.join(PEERS)}: {installed.stderr.strip()[-300:]}")
            return {}
    environment = {
        **os.environ,
        "CK_REPOS": str(folder / "ck"),
        "CM_REPOS": str(folder / "cm"),
        "HOME": str(folder / "user"),
        "PATH": f"{peers / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    (folder / "user").mkdir()

    def peer(*words: str) -> str:
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    answer = peer("ck", "detect", "soft:compiler.python").strip().splitlines()[-1:]
    print(f"ck detect soft:compiler.python, offline: {' '.join(answer)}")
    peer("cmx", "init", "--quiet")

    def cmx(*, anew: bool) -> str:
        if anew:
            shutil.rmtree(folder / "cm" / "repos" / "local" / "cache", ignore_errors=True)
        said = peer("cmx", *CMX)
        version = re.search(r"^.*Python version: (\S+)", said, re.MULTILINE)
        assert version, said
        count = len(set(re.findall(r"^\S*\s+\* (/\S+python3)$", said, re.MULTILINE)))
        return f"{count} installations, takes {version[1]}" if count else f"takes {version[1]}"

    return {
        "cmx: python, anew": lambda: cmx(anew=True),
        "cmx: python, remembered": lambda: cmx(anew=False),
    }


if __name__ == "__main__":
    main()
