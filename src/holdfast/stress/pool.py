"""Running chunks through any executor: few in flight, broken pools replaced, deadly trials isolated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from itertools import chain

from holdfast.core.errors import HoldfastError
from holdfast.stress.apart import Isolation, blames_tasks, run_chunk_apart
from holdfast.stress.trial import Line
from holdfast.stress.worker import Chunk, Setup, context, run_chunk


class Scheduler:
    """Runs chunks through ``executor``, at most ``in_flight`` at a time.

    If workers die, the chunks under way are repeated trial by trial in a process of their own; a trial that
    kills it (``apart.ATTEMPTS`` times) is a crash, one that exceeds the time limit of the setup a hang, and
    its process is killed. The rest goes on in a new process pool. Without ``executor`` all trials run that
    way, and on Dask every worker has such a process, so that workers outlive their trials.
    """

    def __init__(self, setup: Setup, executor: Executor | None, in_flight: int) -> None:
        self._setup, self._executor, self._in_flight = setup, executor, in_flight
        self._own: list[ProcessPoolExecutor] = []
        self._isolation = Isolation(setup)

    def run(self, chunks: Iterable[Chunk]) -> Iterator[list[Line]]:
        """Yield the lines of each chunk, in the order of finishing.

        Raises HoldfastError for what a stressor or the data refuse, StepError if isolated processes keep
        dying, and passes on what else an executor raises (a model that cannot be pickled).
        """
        source, running = iter(chunks), dict[Future[list[Line]], Chunk]()
        try:
            if self._executor is None:
                for chunk in source:
                    yield [line for lines in self._isolated(chunk) for line in lines]
            while True:
                source = self._fill(source, running)
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                suspects, broken = [], False
                for future in done:
                    chunk, error = running.pop(future), future.exception()
                    if error is None:
                        yield future.result()
                    elif isinstance(error, HoldfastError):
                        raise error
                    else:
                        suspects.append(chunk)
                        broken = broken or isinstance(error, BrokenExecutor)
                if broken:
                    # A broken pool fails every future; those that it does not yet know of follow at once.
                    suspects.extend(running.values())
                    running.clear()
                    self._replace()
                for chunk in suspects:
                    yield from self._isolated(chunk)
        finally:
            for future in running:
                future.cancel()
            self._isolation.close()
            for pool in self._own:
                pool.shutdown(cancel_futures=True)

    def _fill(self, source: Iterator[Chunk], running: dict[Future[list[Line]], Chunk]) -> Iterator[Chunk]:
        while self._executor is not None and len(running) < self._in_flight:
            chunk = next(source, None)
            if chunk is None:
                break
            try:
                run = run_chunk_apart if blames_tasks(self._executor) else run_chunk
                running[self._executor.submit(run, self._setup, chunk)] = chunk
            except BrokenExecutor:
                if not running:
                    self._replace()
                return chain([chunk], source) if running else self._fill(chain([chunk], source), running)
        return source

    def _replace(self) -> None:
        self._executor = _process_pool(max(1, self._in_flight // 2))
        self._own.append(self._executor)

    def _isolated(self, chunk: Chunk) -> Iterator[list[Line]]:
        for trial in chunk.trials:
            yield self._isolation.run(Chunk(chunk.key, (trial,)))


def _process_pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=context())
