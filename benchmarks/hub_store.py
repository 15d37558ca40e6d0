"""How fast a store of many points answers: ``python -m benchmarks.hub_store make``, then without ``make``.

``make`` writes 100 runs of 10,000 simulated points each to a home of its own and indexes them, which takes
minutes; what follows asks the same questions in turn, each answered by a plain reading of the files first.
Simulated points: their values are drawn, their records are whole ones.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import _records
from holdfast.core.paths import home, write_json
from holdfast.core.result import Label, Record
from holdfast.core.stats import median_interval
from holdfast.core.timing import time_ms
from holdfast.hub import store
from holdfast.hub.run_record import Run, experiments

RECORDS = Path(__file__).parent / "records" / "hub_store.jsonl"
METRICS = ("accuracy", "latency", "size", "energy", "sdc_rate")
MODELS = ("cnn", "vit", "resnet20", "resnet34")
SCHEMES = ("none", "coc-d", "rc", "full", "fused")
RUNS, POINTS = 100, 10_000


def make(runs: int, points: int) -> float:
    """Write the experiments, and index them; the seconds that the index took."""
    draw = random.Random(0)
    blank = Record(metric="m", value=0.0, unit="1", direction="none", labels={"l": 0}, simulated=True)
    head, tail = json.dumps(blank.to_json()).split('"metric": "m", "value": 0.0')
    for number in range(runs):
        stamp = f"202601{1 + number // 24:02}T{number % 24:02}0000000000-{number:08x}"
        started = f"2026-01-{1 + number // 24:02}T{number % 24:02}:00:00+00:00"
        name = f"workflow:campaign-{number % 10}"
        run = Run(stamp, name, "1.0.0", "0" * 64, {}, started)
        folder = experiments() / name.partition(":")[2] / stamp
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "records.jsonl").open("w", encoding="utf-8") as file:
            for trial in range(points):
                labels = {
                    "model": draw.choice(MODELS),
                    "protection": draw.choice(SCHEMES),
                    "batch": 1 << draw.randrange(8),
                    "trial": trial,
                }
                middle = f'"metric": "{METRICS[trial % len(METRICS)]}", "value": {draw.random()}'
                file.write(head + middle + tail.replace('{"l": 0}', json.dumps(labels)) + "\n")
        write_json(folder / "run.json", run.to_json())
    start = perf_counter()
    assert store.rebuild() == []
    return perf_counter() - start


def by_reading(folder: Path, metric: str, labels: dict[str, Label]) -> list[float]:
    """Values that fit in one run, by reading its file: the reference."""
    with (folder / "records.jsonl").open(encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    return [
        record["value"]
        for record in found
        if record["metric"] == metric and labels.items() <= record["labels"].items()
    ]


def questions() -> dict[str, Callable[[], list[Record]]]:
    """What is asked: each a filter over all runs."""
    two = {"model": "vit", "protection": "full"}
    return {
        "newest run of an experiment: metric and two labels": lambda: store.query(
            experiment="campaign-3", newest=True, metric="accuracy", labels=two
        ),
        "newest run of each experiment: metric and two labels": lambda: store.query(
            newest=True, metric="accuracy", labels=two
        ),
        "all runs: metric and one trial": lambda: store.query(metric="accuracy", labels={"trial": 500}),
        "all runs: three labels, no metric": lambda: store.query(labels={**two, "batch": 8, "trial": 77}),
        "all runs: metric and two labels (10,000 records)": lambda: store.query(
            metric="accuracy", labels=two
        ),
    }


def main() -> None:
    """Make the store, or ask it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="ask", choices=("ask", "make"))
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    if "HOLDFAST_HOME" not in os.environ:
        parser.error("set HOLDFAST_HOME to a folder for the simulated store")
    if given.what == "make":
        seconds = make(given.runs, given.points)
        size = (home() / "index.sqlite").stat().st_size
        print(f"{given.runs * given.points} records indexed in {seconds:.1f} s, {size / 1e6:.0f} MB")
        return
    folders = sorted((experiments() / "campaign-3").iterdir())
    expected = by_reading(folders[-1], "accuracy", {"model": "vit", "protection": "full"})
    asked = questions()
    assert [record.value for record in next(iter(asked.values()))()] == expected != []
    count = sum(run.records for run in store.runs())
    made = []
    table = Table("question", "records", "median (ms)", "interval")
    for name, ask in asked.items():
        found = len(ask())
        times = time_ms(ask, given.repeats, 1)
        interval = median_interval(times)
        made.append(
            Record(
                metric="query_time",
                value=float(np.median(times)),
                unit="ms",
                direction="lower",
                n=given.repeats,
                interval=interval,
                timed=True,
                simulated=True,
                labels={"question": name, "stored": count, "found": found},
            )
        )
        bounds = f"{interval.low:.1f} to {interval.high:.1f}"
        table.add_row(name, str(found), f"{made[-1].value:.1f}", bounds)
    _records.replace(RECORDS, made, lambda record: (record.labels["question"], record.labels["stored"]))
    Console().print(table)


if __name__ == "__main__":
    main()
