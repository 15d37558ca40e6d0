"""What a step costs over the bare process, cached and not: ``python -m benchmarks.hub_steps``.

A workflow of trivial steps (each writes a number) runs with ``force``; the baseline runs the same programs as
plain processes, one after the other. The outputs of both sides are equal before any time is told. Overhead is
the difference of both, by step. ``--memory CELLS`` measures instead what a matrix of so many cells takes to
plan. Records of the same kind are replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import _records
from holdfast import hub
from holdfast.core.canonical import content_hash
from holdfast.core.result import Label, Record
from holdfast.core.stats import bootstrap
from holdfast.core.timing import time_pairs
from holdfast.hub.workflow import load

RECORDS = Path(__file__).parent / "records" / "hub_steps.jsonl"
KEY = ("entry", "steps", "cells")
MAIN = "def run(out, *, n):\n    (out / 'n.txt').write_text(f'{n}\\n')\n"
BARE = "import sys; from pathlib import Path; import main; main.run(Path(sys.argv[1]), n=int(sys.argv[2]))"


def component(root: Path, kind: str, name: str, files: dict[str, str], **fields: object) -> None:
    """Write a component."""
    folder = root / kind / name
    folder.mkdir(parents=True)
    base = {"schema": "holdfast.component/1", "kind": kind, "name": name, "uid": content_hash(name)[:16]}
    text = json.dumps({**base, "version": "1.0.0", "title": name, **fields})
    for file, content in {"component.json": text, **files}.items():
        (folder / file).write_text(content)


def make(root: Path, steps: int) -> dict[str, list[str]]:
    """A program and a workflow for each kind of entry; return the bare commands (OUT and N to be added)."""
    inputs = {"n": {"type": "integer"}}
    outputs = {"n": {"type": "file", "path": "n.txt"}}
    shell = ["/bin/sh", "-c", "echo {inputs.n} > n.txt"]
    entries = {"python": {"python": "main.py:run"}, "command": {"command": shell}}
    for name, entry in entries.items():
        component(root, "program", name, {"main.py": MAIN}, inputs=inputs, outputs=outputs, entry=entry)
        wired = [{"id": f"s{n}", "uses": f"program:{name}", "with": {"n": n}} for n in range(steps)]
        component(root, "workflow", name, {}, steps=wired)
    return {
        "python": [sys.executable, "-u", "-P", "-c", BARE],
        "command": ["/bin/sh", "-c", 'echo "$1" > "$0/n.txt"'],
    }


def bare(command: list[str], folder: Path, steps: int) -> None:
    """The steps as plain processes."""
    for n in range(steps):
        out = folder / str(n)
        out.mkdir(exist_ok=True)
        subprocess.run([*command, str(out), str(n)], check=True)


def measure(entry: str, command: list[str], folder: Path, steps: int, pairs: int) -> list[Record]:
    """Overheads of a step that runs, and of one that is cached. Raises AssertionError for other outputs."""
    workflow = hub.find(f"workflow:{entry}")
    result = hub.run(workflow)
    bare(command, folder, steps)
    for n in range(steps):
        assert result.output(f"s{n}", "n").read_text() == (folder / str(n) / "n.txt").read_text() == f"{n}\n"
    timing = time_pairs(
        lambda: bare(command, folder, steps), lambda: hub.run(workflow, force=True), pairs, warmup=1
    )
    cached = time_pairs(lambda: None, lambda: hub.run(workflow), pairs, warmup=1)
    ran = (timing.b_ms - timing.a_ms) / steps
    labels: dict[str, Label] = {"entry": entry, "steps": steps}
    baseline = round(float(np.median(timing.a_ms)) / steps, 2)
    return [
        overhead("uncached_step_overhead", ran, {**labels, "bare_process_ms": baseline}),
        overhead("cached_step_overhead", cached.b_ms / steps, labels),
    ]


def overhead(metric: str, values: np.ndarray, labels: dict[str, Label]) -> Record:
    """The median of ``values`` in ms with its interval."""
    return Record(
        metric=metric,
        value=float(np.median(values)),
        unit="ms",
        direction="lower",
        n=len(values),
        interval=bootstrap(values, seed=0),
        timed=True,
        seed=0,
        labels=labels,
    )


def peak_mb() -> float:
    """Most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def plan(root: Path, cells: int) -> list[Record]:
    """Time and memory of planning a matrix of ``cells`` cells."""
    axes = {"a": list(range(-(-cells // 100))), "b": list(range(100))}
    step = {
        "id": "s",
        "uses": "program:python",
        "with": {"n": {"from": "matrix.a"}},
        "matrix": {"axes": axes},
    }
    component(root, "workflow", "wide", {}, steps=[step])
    before, start = peak_mb(), perf_counter()
    planned = load(hub.find("workflow:wide"))
    seconds = perf_counter() - start
    assert len(planned.steps) == cells
    labels: dict[str, Label] = {"cells": cells}
    return [
        Record(metric="plan_time", value=seconds, unit="s", direction="lower", labels=labels),
        Record(
            metric="plan_memory",
            value=peak_mb() - before,
            unit="MB",
            direction="lower",
            timed=True,
            labels=labels,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--entry", choices=["python", "command"], action="append")
    parser.add_argument("--memory", type=int, metavar="CELLS")
    parser.add_argument("--out", type=Path, default=RECORDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ.update(HOLDFAST_HOME=str(folder / "home"), HOLDFAST_REPO=str(folder / "repo"))
        commands = make(folder / "repo", options.steps)
        os.environ["PYTHONPATH"] = str(folder / "repo/program/python")
        if options.memory:
            made = plan(folder / "repo", options.memory)
        else:
            made = []
            for entry in options.entry or commands:
                out = folder / entry
                out.mkdir()
                made += measure(entry, commands[entry], out, options.steps, options.pairs)
    for record in made:
        interval = f" [{record.interval.low:.2f}, {record.interval.high:.2f}]" if record.interval else ""
        print(f"{record.metric} {record.labels}: {record.value:.2f}{interval} {record.unit}")
    _records.replace(options.out, made, lambda r: (r.metric, *(r.labels.get(name) for name in KEY)))


if __name__ == "__main__":
    main()
