"""Counting checks and alarms, and keeping the counts as records that several processes add to."""

from __future__ import annotations

import fcntl
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.abft.protect import Protected
from holdfast.core.result import Label, Record, read_records, write_records
from holdfast.core.stats import wilson

LABELS = ("model", "path", "dtype")
SOFTMAX = "rows of a softmax"
Key = tuple[str, str, str]
Call = Callable[[Tensor], Any]


class Tally:
    """Checks and alarms by (model, path, dtype), and the largest deviation over threshold."""

    def __init__(self) -> None:
        self.checks: Counter[Key] = Counter()
        self.alarms: Counter[Key] = Counter()
        self.worst: dict[Key, float] = defaultdict(float)

    def run(self, key: Key, model: Protected, call: Call, x: Tensor) -> None:
        """One call of ``model``, by ``call``; each of its checks counts.

        Those of the rows of a softmax have a group of their own: their tolerance is no estimate but the
        largest deviation that is possible, which bfloat16 comes close to.
        """
        model.clear_events()
        ratios: dict[Key, list[float]] = {key: [], (key[0], SOFTMAX, key[2]): []}
        of_layers, of_rows = ratios.values()

        def watch(name: str, deviation: float, threshold: float) -> None:
            kind = of_rows if name.endswith(".softmax") else of_layers
            kind.append(ratio(deviation, threshold))

        with model.guard.watched(watch):
            of_layers += call(x) or ()
        for group, found in ratios.items():
            if found:
                self.checks[group] += len(found)
                self.worst[group] = max(self.worst[group], *found)
        self.alarms[key] += len(model.events)
        for event in model.events:
            print("alarm", key, tuple(x.shape), event)

    def add(self, records: list[Record] | Tally) -> None:
        """Count what is in ``records``."""
        if isinstance(records, Tally):
            self.checks += records.checks
            self.alarms += records.alarms
            for key, value in records.worst.items():
                self.worst[key] = max(self.worst[key], value)
            return
        for record in records:
            if "model" not in record.labels or record.value is None or record.n is None:
                continue
            model, path, dtype = (str(record.labels.get(name)) for name in LABELS)
            key = model, path, dtype
            if record.metric == "largest_deviation":
                self.worst[key] = max(self.worst[key], record.value)
            else:
                self.checks[key] += record.n
                self.alarms[key] += round(record.value * record.n)

    def records(self, threads: int, seed: int) -> list[Record]:
        """The rate of alarms, in all and by group, and the largest deviations."""
        made = [_rate(self.alarms.total(), self.checks.total(), seed, {"threads": threads})]
        for key, checks in sorted(self.checks.items()):
            labels: dict[str, Label] = {"threads": threads, **dict(zip(LABELS, key, strict=True))}
            made.append(_rate(self.alarms[key], checks, seed, labels))
            worst = Record(
                metric="largest_deviation",
                value=self.worst[key],
                unit="thresholds",
                direction="lower",
                n=checks,
                seed=seed,
                labels=labels,
            )
            made.append(worst)
        return made


def ratio(deviation: float, threshold: float) -> float:
    return deviation / threshold if threshold else deviation


def _rate(alarms: int, checks: int, seed: int, labels: Mapping[str, Label]) -> Record:
    return Record(
        metric="false_alarm_rate",
        value=alarms / checks,
        unit="of the checks",
        direction="lower",
        n=checks,
        interval=wilson(alarms, checks),
        seed=seed,
        labels=dict(labels),
    )


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time reads and writes the records."""
    with open(__file__) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(out: Path) -> list[Record]:
    return read_records(out) if out.exists() else []


def done(out: Path, threads: int, seed: int) -> int:
    """How many pieces of this seed and number of threads are in the records."""
    return next((int(r.value or 0) for r in _read(out) if _counts(r, threads, seed)), 0)


def _counts(record: Record, threads: int, seed: int) -> bool:
    return record.metric == "pieces" and (record.labels["threads"], record.seed) == (threads, seed)


def kept(out: Path, threads: int) -> Tally:
    """What the records hold of this number of threads."""
    tally = Tally()
    tally.add([r for r in _read(out) if r.labels.get("threads") == threads and r.metric != "pieces"])
    return tally


def record(out: Path, tally: Tally, threads: int, seed: int, pieces: int) -> None:
    """Add ``tally`` to the records of this number of threads, and that ``pieces`` are done."""
    with _alone():
        both = kept(out, threads)
        both.add(tally)
        others = [
            r
            for r in _read(out)
            if not _counts(r, threads, seed) and (r.metric == "pieces" or r.labels.get("threads") != threads)
        ]
        count = Record(
            metric="pieces",
            value=pieces,
            unit="",
            direction="none",
            seed=seed,
            labels={"threads": threads},
        )
        write_records(out, [*others, *both.records(threads, seed), count])
