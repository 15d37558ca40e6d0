"""Trials in processes that only they can kill: here, and inside the tasks of a worker that others share."""

from __future__ import annotations

import threading
from concurrent.futures import Executor
from multiprocessing import current_process

from holdfast.core.errors import StepError
from holdfast.stress.cell import Cell, ProcessDiedError
from holdfast.stress.trial import Line
from holdfast.stress.worker import Chunk, Setup

ATTEMPTS = 2
"""How often a trial may kill its process before it counts as a crash: the first death may be an accident."""

MOST_DEATHS_IN_A_ROW = 12
"""Deaths of isolated trials in a row after which the machine is blamed and not the trials."""


class Isolation:
    """Runs trials one by one in a cell; one that kills it ``ATTEMPTS`` times is a crash."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._cell = Cell(setup)
        self._deaths = 0

    def run(self, chunk: Chunk) -> list[Line]:
        """The lines of a chunk of one trial. Raises StepError if one process after the other dies."""
        outcome, message = "crash", "the process died"
        for _ in range(ATTEMPTS):
            try:
                lines = self._cell.run(chunk)
            except TimeoutError:
                outcome, message = "hang", f"no answer after {self.setup.limit_s:g} s"
                self._deaths = 0
                break
            except ProcessDiedError:
                self._deaths += 1
            else:
                self._deaths = 0
                return lines
        if self._deaths >= MOST_DEATHS_IN_A_ROW:
            raise StepError(
                "campaign",
                expected="worker processes that live",
                got=f"{self._deaths} deaths in a row",
                remedy="look for a lack of memory, or for a script without `if __name__ == '__main__':`",
            )
        ((trial, batch),) = chunk.trials
        return [
            {"stressor": chunk.key, "trial": trial, "batch": batch, "outcome": outcome, "message": message}
        ]

    def close(self) -> None:
        """End the cell's process."""
        self._cell.close()


def blames_tasks(executor: Executor) -> bool:
    """Whether workers of ``executor`` must outlive trials: Dask suspects all tasks of one that died."""
    return type(executor).__module__.partition(".")[0] == "distributed"


_local = threading.local()


def run_chunk_apart(setup: Setup, chunk: Chunk) -> list[Line]:
    """Like ``worker.run_chunk``, in a process of its own that the worker keeps from chunk to chunk."""
    if current_process().daemon:
        current_process().daemon = False  # Dask's workers are, and such may have no children
    kept: Isolation | None = getattr(_local, "isolation", None)
    if kept is None or kept.setup.digest != setup.digest or kept.setup.limit_s != setup.limit_s:
        if kept is not None:
            kept.close()
        kept = _local.isolation = Isolation(setup)
    return [line for trial in chunk.trials for line in kept.run(Chunk(chunk.key, (trial,)))]
