"""Where the history of a training goes: JSON lines always, TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.core.jsonl import Appender
from holdfast.core.paths import write_text

HISTORY = "history.jsonl"
VOLATILE = ("seconds",)
"""Fields of a history line that may differ between a run and its undisturbed repetition."""


class Trackers:
    """Writes one line an epoch to ``folder/history.jsonl`` and scalars to ``folder/tensorboard``.

    ``history`` are the lines of the epochs that a checkpoint knows: the file is made to hold exactly these
    before new ones are appended. Raises StorageError.
    """

    def __init__(self, folder: Path, history: Sequence[dict[str, Any]]) -> None:
        path = folder / HISTORY
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in history))
        self._lines = Appender(path)
        self._board = _tensorboard(folder / "tensorboard", purge=len(history) + 1)

    def epoch(self, line: dict[str, Any]) -> None:
        """Record a finished epoch."""
        self._lines.append(line)
        if self._board is not None:
            for key, value in line.items():
                if key != "epoch" and value is not None:
                    self._board.add_scalar(key, value, line["epoch"])
            self._board.flush()

    def close(self) -> None:
        """Close the files."""
        self._lines.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, purge: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=purge)
