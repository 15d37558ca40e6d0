"""Where steps run: in this thread one by one, in threads at the same time, or with any executor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol

from holdfast.core import environment
from holdfast.hub.kinds import Resources
from holdfast.hub.process import GRACE_S, Stop
from holdfast.hub.work import Made, Work, perform

OnWait = Callable[[], None]


class Places(Protocol):
    """What the runner asks of where steps run."""

    def fits(self, resources: Resources | None) -> bool:
        """Whether a step with ``resources`` may start now."""

    def start(self, work: Work, on_wait: OnWait) -> None:
        """Start ``work``."""

    def finished(self) -> list[tuple[str, Future[Made]]]:
        """Wait for at least one started step; id and outcome of those that have ended since."""

    def interrupt(self) -> None:
        """Interrupt what runs and wait for its end."""


class Here:
    """One step at a time, in this thread."""

    def __init__(self) -> None:
        self._done: list[tuple[str, Future[Made]]] = []

    def fits(self, resources: Resources | None) -> bool:
        """Whether nothing waits to be told of."""
        return not self._done

    def start(self, work: Work, on_wait: OnWait) -> None:
        """Perform ``work``; raises KeyboardInterrupt."""
        future: Future[Made] = Future()
        self._done.append((work.step, future))
        cores = _cores(work.resources)
        try:
            future.set_result(perform(work, on_wait=on_wait, cpus=_available()[:cores] if cores else ()))
        except Exception as error:
            future.set_exception(error)

    def finished(self) -> list[tuple[str, Future[Made]]]:
        """The step that ended."""
        done, self._done = self._done, []
        return done

    def interrupt(self) -> None:
        """Nothing is left running by the interrupt that was raised."""


class Threads:
    """Steps at the same time on this machine's cores, within its memory, a thread waiting for each."""

    def __init__(self, pool: ThreadPoolExecutor, cores: int) -> None:
        self._pool, self._stop = pool, Stop()
        available = _available() or list(range(cores))
        self._free = [available[index % len(available)] for index in range(cores)]
        self._cores, self._memory_mb = cores, _memory_mb()
        self._running: dict[Future[Made], tuple[str, list[int], float]] = {}

    def fits(self, resources: Resources | None) -> bool:
        """Whether enough cores and memory are free; a step that asks for more than there is runs alone."""
        if not self._running:
            return True
        cores, memory = min(_cores(resources) or 1, self._cores), (resources or Resources()).memory_mb or 0.0
        taken = sum(each for _, _, each in self._running.values())
        return cores <= len(self._free) and taken + memory <= self._memory_mb

    def start(self, work: Work, on_wait: OnWait) -> None:
        """Start ``work`` in a thread, pinned to cores of its own where it says how many."""
        cores = min(_cores(work.resources) or 1, len(self._free))
        cpus, self._free = self._free[:cores], self._free[cores:]
        pinned = sorted(set(cpus)) if work.resources is not None else ()
        future = self._pool.submit(perform, work, cpus=pinned, stop=self._stop)
        self._running[future] = (work.step, cpus, (work.resources or Resources()).memory_mb or 0.0)

    def finished(self) -> list[tuple[str, Future[Made]]]:
        """The steps that ended; their cores are free."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        ended = []
        for future in done:
            step, cpus, _ = self._running.pop(future)
            self._free += cpus
            ended.append((step, future))
        return ended

    def interrupt(self) -> None:
        """Pass the interrupt on to all programs; end those that do not heed it."""
        self._stop.send(signal.SIGINT)
        for future in self._running:
            future.cancel()
        wait(self._running, GRACE_S)
        self._stop.send(signal.SIGKILL)
        wait(self._running)


class Anywhere:
    """Steps with any executor whose workers share this home folder, at most ``in_flight`` at a time."""

    def __init__(self, executor: Executor, in_flight: int) -> None:
        self._executor, self._in_flight = executor, in_flight
        self._running: dict[Future[Made], str] = {}

    def fits(self, resources: Resources | None) -> bool:
        """Whether fewer than the most are under way."""
        return len(self._running) < self._in_flight

    def start(self, work: Work, on_wait: OnWait) -> None:
        """Send ``work`` to a worker."""
        self._running[self._executor.submit(perform, work)] = work.step

    def finished(self) -> list[tuple[str, Future[Made]]]:
        """The steps that ended."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        return [(self._running.pop(future), future) for future in done]

    def interrupt(self) -> None:
        """Take back what has not begun. What runs elsewhere ends there, and its result is kept."""
        for future in self._running:
            future.cancel()


@contextmanager
def places(executor: Executor | None, workers: int | None) -> Iterator[Places]:
    """Where a run's steps run: here without ``executor`` and with at most one of ``workers``."""
    if executor is not None:
        yield Anywhere(executor, 2 * (workers or environment.cores()))
    elif workers is None or workers <= 1:
        yield Here()
    else:
        with ThreadPoolExecutor(workers, thread_name_prefix="step") as pool:
            yield Threads(pool, workers)


def outcome(future: Future[Made]) -> Made | BaseException:
    """What ``future`` ended with."""
    try:
        return future.result()
    except (Exception, KeyboardInterrupt, CancelledError) as error:
        return error


def _available() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _cores(resources: Resources | None) -> int | None:
    return None if resources is None else resources.cores


def _memory_mb() -> float:
    import psutil

    return float(psutil.virtual_memory().total) / 1e6
