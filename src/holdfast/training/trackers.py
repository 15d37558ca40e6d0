"""Where the history of a training goes: JSON lines always, CSV, TensorBoard, MLflow and W&B by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from holdfast.core.errors import UsageError
from holdfast.core.jsonl import Appender
from holdfast.core.paths import write_text
from holdfast.core.registry import Registry
from holdfast.training.curves import write_table

HISTORY, CSV = "history.jsonl", "history.csv"
VOLATILE = ("seconds",)
"""Fields of a history line that may differ between a run and its undisturbed repetition."""

Line = dict[str, Any]


class Tracker(Protocol):
    """Follows one training. It sees what was measured, and can change nothing of it."""

    def epoch(self, line: Line) -> None:
        """Record a finished epoch."""

    def close(self) -> None:
        """Close files and connections."""


registry: Registry[Callable[[Path, Sequence[Line], Mapping[str, Any]], Tracker]] = Registry(
    "tracker", "trackers"
)
"""By name, what makes a tracker of (the folder of the run, the lines that a checkpoint knows, the settings).

It makes its record hold each of these lines once, whatever a killed run has left.
"""


class Trackers:
    """Writes one line an epoch to ``folder/history.jsonl``, and to the trackers called ``names``.

    ``history`` are the lines of the epochs that a checkpoint knows: the file is made to hold exactly these
    before new ones are appended. Without ``names`` (None), scalars go to TensorBoard if that is installed.
    Raises StorageError, UnknownNameError, and UsageError for a named tracker that is not installed.
    """

    def __init__(
        self,
        folder: Path,
        history: Sequence[Line],
        names: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._trackers: list[Tracker] = []
        try:
            for make in [JsonLines, *_makers(names)]:
                self._trackers.append(make(folder, history, settings or {}))
        except BaseException:
            self.close()
            raise

    def epoch(self, line: Line) -> None:
        """Record a finished epoch."""
        for tracker in self._trackers:
            tracker.epoch(line)

    def close(self) -> None:
        """Close all of them."""
        for tracker in self._trackers:
            tracker.close()


def check(names: Sequence[str]) -> None:
    """Raise UnknownNameError, or UsageError for a tracker whose package is not installed."""
    for name in names:
        module = getattr(registry.get(name), "module", None)
        if module is not None and find_spec(module) is None:
            raise absent(name)


def _makers(names: Sequence[str] | None) -> list[Callable[..., Tracker]]:
    if names is not None:
        return [registry.get(name) for name in dict.fromkeys(names)]
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        return []
    return [TensorBoard]


def absent(name: str) -> UsageError:
    """The error for a tracker whose package is not installed."""
    return UsageError(
        f"tracker {name!r}",
        expected="its package",
        got="not installed",
        remedy="pip install holdfast[trackers]",
    )


class JsonLines:
    """``history.jsonl``: one JSON object an epoch, on the disk before the next epoch begins."""

    def __init__(self, folder: Path, history: Sequence[Line], settings: Mapping[str, Any]) -> None:
        path = folder / HISTORY
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in history))
        self._lines = Appender(path)

    def epoch(self, line: Line) -> None:
        """Append the line."""
        self._lines.append(line)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


@registry.register("csv")
class Csv:
    """``history.csv``: a column a quantity, empty where there is none; written anew after every epoch."""

    def __init__(self, folder: Path, history: Sequence[Line], settings: Mapping[str, Any]) -> None:
        self._path, self._lines = folder / CSV, list(history)
        if history:
            self._write()

    def epoch(self, line: Line) -> None:
        """Write the file with the line."""
        self._lines.append(line)
        self._write()

    def _write(self) -> None:
        write_table(self._path, self._lines)

    def close(self) -> None:
        """Nothing is open."""


@registry.register("tensorboard")
class TensorBoard:
    """Scalars by epoch in ``tensorboard/``; what a killed run wrote beyond ``history`` is purged."""

    module = "tensorboard"

    def __init__(self, folder: Path, history: Sequence[Line], settings: Mapping[str, Any]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise absent("tensorboard") from error
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=len(history) + 1)

    def epoch(self, line: Line) -> None:
        """Write every number of the line."""
        for key, value in numbers(line).items():
            self._board.add_scalar(key, value, line["epoch"])
        self._board.flush()

    def close(self) -> None:
        """Close the event file."""
        self._board.close()


def numbers(line: Line) -> dict[str, float]:
    """What ``line`` measured, without the number of the epoch."""
    return {key: float(value) for key, value in line.items() if key != "epoch" and value is not None}
