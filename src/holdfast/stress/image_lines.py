"""What an evaluation under attack leaves: a line an image, and what they add up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes
from torch import Tensor

from holdfast.core import jsonl
from holdfast.core.errors import DataError
from holdfast.core.jsonl import Appender
from holdfast.core.paths import write_bytes, write_text
from holdfast.core.result import Label, Record
from holdfast.core.stats import wilson
from holdfast.stress.store import settle
from holdfast.stress.trial import Line

SETTINGS, IMAGES, INPUTS = "robustness.json", "images.jsonl", "inputs"
SCHEMA = "holdfast.robustness/1"


class ImageLines:
    """The lines of ``n`` images in batches of ``batch_size``, kept in the folder ``out`` if there is one.

    With ``keep`` the hostile images of each batch go to ``inputs/<batch>.safetensors`` (tensor ``x``).
    """

    def __init__(self, out: Path | None, n: int, batch_size: int, keep: bool) -> None:
        self.out, self.n, self.batch_size, self.keep = out, n, batch_size, keep
        self._lines: dict[int, Line] = {}
        self._appender: Appender | None = None
        self.finished: set[int] = set()

    def settle(self, settings: dict[str, Any]) -> None:
        """Begin, or go on where ``out`` was left. Raises UsageError if its settings are others."""
        if self.out is None:
            return
        path = self.out / IMAGES
        settings = {"schema": SCHEMA, **settings, "keep": self.keep}
        settle(self.out / SETTINGS, settings, "robustness evaluation", path)
        if path.exists():
            self._lines = {line["index"]: line for line in jsonl.read(path)}
        counts = Counter(line["batch"] for line in self._lines.values())
        # A batch whose lines were cut off by a kill is computed again.
        self.finished = {number for number, count in counts.items() if count == self.size(number)}
        self._appender = Appender(path)

    def size(self, number: int) -> int:
        """Images in batch ``number``."""
        return min(self.batch_size, self.n - number * self.batch_size)

    def add(self, number: int, lines: list[Line], inputs: Tensor) -> None:
        """Keep a finished batch. Raises DataError where it is not as long as it should be, StorageError."""
        if len(lines) != self.size(number):
            raise DataError(f"batch {number}", expected=f"{self.size(number)} images", got=len(lines))
        if self.out is not None and self.keep:
            write_bytes(self.out / INPUTS / f"{number:05d}.safetensors", to_bytes({"x": inputs}))
        if self._appender is not None:
            self._appender.append(*lines)
        self._lines |= {line["index"]: line for line in lines}

    def finish(self) -> list[Line]:
        """All lines in the order of the images; the file is put into that order too."""
        lines = [self._lines[index] for index in sorted(self._lines)]
        self.close()
        if self.out is not None:
            text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
            write_text(self.out / IMAGES, text)
        return lines

    def close(self) -> None:
        """Close the file."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None


def accuracy_records(
    lines: Sequence[Line],
    labels: Mapping[str, Label],
    stages: Sequence[str],
    *,
    seed: int,
    simulated: bool,
) -> list[Record]:
    """Accuracies with Wilson intervals, and how many images each of ``stages`` broke."""
    n = len(lines)
    common: dict[str, Any] = {"n": n, "seed": seed, "simulated": simulated}

    def rate(metric: str, key: str) -> Record:
        right = sum(line[key] for line in lines)
        interval = wilson(right, n)
        return Record(
            metric=metric,
            value=right / n,
            unit="1",
            direction="higher",
            interval=interval,
            labels=dict(labels),
            **common,
        )

    def count(metric: str, number: int, **more: Label) -> Record:
        return Record(
            metric=metric,
            value=number,
            unit="images",
            direction="lower",
            labels={**labels, **more},
            **common,
        )

    records = [rate("clean_accuracy", "clean"), rate("robust_accuracy", "robust")]
    broken = Counter(line["broken_by"] for line in lines)
    records += [count("broken_images", broken[name], broken_by=name) for name in stages]
    if all("replayed" in line for line in lines):
        records.append(rate("replayed_robust_accuracy", "replayed_right"))
        different = sum(line["replayed"] != line["decision"] for line in lines)
        records.append(count("replay_disagreements", different))
    return records
