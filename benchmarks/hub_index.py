"""How fast 10,000 components are found: ``python -m benchmarks.hub_index``.

They are made in a repository of their own (a few seconds), and the index from them. Every answer is compared
with a plain reading of all descriptions, and at the end one is edited by hand, which the answer must follow.
The index trusts a stamp only when the file has lain still for two seconds, so that long is waited once.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import _records
from holdfast.core.result import Record
from holdfast.core.stats import median_interval
from holdfast.hub import find, index, search

RECORDS = Path(__file__).parent / "records" / "hub_index.jsonl"
COUNT, RUNS = 10_000, 30
GOALS_MS = {"search": 50.0, "rebuild": 5000.0}


def make(root: Path, count: int) -> None:
    """Write ``count`` programs, every thousandth of which is about blurring."""
    for number in range(count):
        folder = root / "program" / f"p{number}"
        folder.mkdir(parents=True)
        description = {
            "schema": "holdfast.component/1",
            "kind": "program",
            "name": f"p{number}",
            "uid": f"{number:016x}",
            "version": "1.0.0",
            "title": f"Program {number}",
            "description": f"{'blurs' if number % 1000 == 0 else 'sharpens'} images, one of many programs",
            "tags": ["made", f"group-{number % 97}"],
            "inputs": {"image": {"type": "path"}},
            "entry": {"command": ["true", "{inputs.image}"]},
        }
        (folder / "component.json").write_text(json.dumps(description), encoding="utf-8")


def by_reading(root: Path, word: str) -> set[str]:
    """Names of programs whose description has ``word``: the reference."""
    files = (root / "program").glob("*/component.json")
    described = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return {each["name"] for each in described if word in each["description"]}


def main() -> None:
    """Measure and record."""
    with tempfile.TemporaryDirectory(prefix="holdfast-index-") as folder:
        root = Path(folder) / "many"
        os.environ |= {"HOLDFAST_HOME": f"{folder}/home", "HOLDFAST_REPO": str(root)}
        make(root, COUNT)
        time.sleep(2.1)
        times: dict[str, list[float]] = {"rebuild": [], "search": [], "find": []}
        for _ in range(3):
            start = perf_counter()
            held = index.rebuild()
            times["rebuild"].append(1000 * (perf_counter() - start))
            assert held >= COUNT
        wanted = by_reading(root, "blurs")
        for _ in range(RUNS):
            start = perf_counter()
            found = search("blurs")
            times["search"].append(1000 * (perf_counter() - start))
            assert {component.name for component in found} == wanted
            start = perf_counter()
            one = find("program:p777")
            times["find"].append(1000 * (perf_counter() - start))
            assert one.uid == f"{777:016x}"
        edited = root / "program" / "p3" / "component.json"
        edited.write_text(edited.read_text().replace("sharpens", "blurs"))
        assert {component.name for component in search("blurs")} == {*wanted, "p3"}
    records = [_record(name, values) for name, values in times.items()]
    _records.replace(RECORDS, records, lambda record: (record.metric, record.host))
    table = Table("question", "median ms", "interval", "goal ms", title=f"{COUNT} components")
    for record in records:
        name = str(record.labels["question"])
        spread = f"{record.interval.low:.1f} to {record.interval.high:.1f}" if record.interval else ""
        table.add_row(name, f"{record.value:.1f}", spread, f"{GOALS_MS.get(name, 0) or ''}")
    Console().print(table)


def _record(name: str, values: list[float]) -> Record:
    return Record(
        metric=f"hub_index_{name}",
        value=float(np.median(values)),
        unit="ms",
        direction="lower",
        n=len(values),
        interval=median_interval(np.array(values)),
        timed=True,
        labels={"question": name, "components": COUNT},
    )


if __name__ == "__main__":
    main()
