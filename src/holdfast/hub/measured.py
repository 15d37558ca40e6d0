"""Metrics read from what a program leaves: its log, or its outputs, as its component declares."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from holdfast.core.errors import StepError
from holdfast.core.result import Label, Record
from holdfast.hub.inputs import Metric, Reading
from holdfast.hub.kinds import Program

MOST_BYTES: Final = 64 << 20
"""Of a file that metrics are read from."""
MOST_VALUES: Final = 1_000_000


def read(program: Program, inputs: Mapping[str, Any], log: Path, out: Path) -> list[Record]:
    """One record for every value of every metric that says where it stands.

    Records carry the program's simple inputs as labels. Raises StepError for a metric that is not there, a
    value that is no finite number, and a file that cannot be read.
    """
    simple: dict[str, Label] = {
        name: value
        for name, value in inputs.items()
        if isinstance(value, str | int | float)
        and program.inputs[name].type not in ("path", "paths", "source")
    }
    records = []
    for name, metric in program.metrics.items():
        if metric.read is not None:
            found = list(_values(name, metric, metric.read, program, log, out))
            records += _records(name, metric, found, simple)
    return records


def _values(
    name: str, metric: Metric, reading: Reading, program: Program, log: Path, out: Path
) -> Iterator[tuple[float, dict[str, str]]]:
    file = log if reading.from_ == "log" else out / program.outputs[reading.from_].path
    text = _text(file, name)
    if reading.pattern is not None:
        count = 0
        for count, match in enumerate(re.finditer(reading.pattern, text, re.MULTILINE), start=1):
            if count > MOST_VALUES:
                raise StepError(
                    f"metric {name!r}", expected=f"at most {MOST_VALUES} values", got=f"more in {file}"
                )
            groups = {key: value for key, value in match.groupdict().items() if value is not None}
            yield _number(groups.pop("value", ""), name, file), groups
        if count == 0:
            raise StepError(f"metric {name!r}", expected=f"{reading.pattern!r} in {file}", got="no such text")
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StepError(f"metric {name!r}", expected=f"JSON in {file}", got=str(error)) from error
    for part in (reading.json_ or "").split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise StepError(
                f"metric {name!r}", expected=f"{reading.json_} in {file}", got=f"no {part!r} there"
            ) from error
    for item in value if isinstance(value, list) else [value]:
        yield _number(item, name, file), {}


def _records(
    name: str, metric: Metric, found: list[tuple[float, dict[str, str]]], simple: dict[str, Label]
) -> list[Record]:
    several = Counter(tuple(sorted(labels.items())) for _, labels in found)
    seen: Counter[tuple[tuple[str, str], ...]] = Counter()
    records = []
    for value, labels in found:
        place = tuple(sorted(labels.items()))
        all_labels: dict[str, Label] = {**simple, **labels}
        if several[place] > 1:
            all_labels["repetition"] = seen[place]
            seen[place] += 1
        records.append(
            Record(
                metric=name,
                value=value,
                unit=metric.unit,
                direction=metric.direction,
                labels=all_labels,
                timed=metric.timed,
            )
        )
    return records


def _text(file: Path, name: str) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise StepError(f"metric {name!r}", expected=f"at most {MOST_BYTES} bytes", got=f"more in {file}")
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StepError(f"metric {name!r}", expected=f"a file {file}", got=error.strerror) from error


def _number(value: Any, name: str, file: Path) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise StepError(f"metric {name!r}", expected=f"a finite number in {file}", got=repr(value))
    return number
