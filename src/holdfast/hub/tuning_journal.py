"""The journal of a study: a line a trial, on the disk as soon as it ends, so that a killed study resumes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from holdfast.core import jsonl
from holdfast.core.canonical import content_hash
from holdfast.core.errors import DataError
from holdfast.core.paths import home
from holdfast.hub.tuning_trial import Trial


class Journal:
    """Trials of the study ``question`` (everything that makes it this study) of a component ``name``.

    It lies in ``home()/tuning/`` until the study has ended and its experiment is kept.
    """

    def __init__(self, name: str, question: dict[str, Any]) -> None:
        self.path: Path = home() / "tuning" / f"{name}-{content_hash(question)[:16]}.jsonl"
        self._file: jsonl.Appender | None = None

    def read(self) -> list[Trial]:
        """The trials that an interrupted study has come to, in order. Raises DataError for other content."""
        if not self.path.is_file():
            return []
        try:
            return [_trial(line) for line in jsonl.read(self.path)]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                str(self.path), expected="the journal of a study", got=str(error), remedy="remove it"
            ) from error

    def add(self, trial: Trial) -> None:
        """Append a trial. Raises StorageError."""
        if self._file is None:
            self._file = jsonl.Appender(self.path)
        self._file.append(asdict(trial))

    def close(self, *, ended: bool) -> None:
        """Close the file, and remove it if the study has ``ended``."""
        if self._file is not None:
            self._file.close()
        if ended:
            self.path.unlink(missing_ok=True)


def _trial(line: dict[str, Any]) -> Trial:
    intervals = {name: (float(low), float(high)) for name, (low, high) in line["intervals"].items()}
    return Trial(**{**line, "intervals": intervals, "violated": tuple(line["violated"])})
