"""Chunks of a simulation, made by any number of processes and handed on in order."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")


def in_order(
    make: Callable[..., T], arguments: Iterable[tuple[Any, ...]], pool: Executor | None, ahead: int
) -> Iterator[T]:
    """``make(*a)`` for each a of ``arguments``, in order; with a pool, at most ``ahead`` are under way."""
    waiting: deque[Future[T]] = deque()
    for values in arguments:
        if pool is None:
            yield make(*values)
            continue
        waiting.append(pool.submit(make, *values))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def worker_pool(workers: int, executor: Executor | None) -> Iterator[Executor | None]:
    """The given executor, a pool of our own, or None for one process."""
    if executor is not None or workers == 1:
        yield executor
        return
    # Spawned, since a forked copy of a process that uses threads may hang.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupt)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
