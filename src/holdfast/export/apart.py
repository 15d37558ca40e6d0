"""Work that may never end, in a process of its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Generic, TypeVar

import psutil
import torch

from holdfast.stress.worker import context

A = TypeVar("A")
T = TypeVar("T")


class ProcessDiedError(Exception):
    """The process ended without an answer."""


class Apart(Generic[A, T]):
    """Calls a picklable ``function`` in another process, with as many threads of PyTorch as this one.

    A call that takes too long, a compiler that it has started included, is ended, and the next one starts
    in a new process. A process serves one call after another, so that ``function`` may keep what it makes.
    """

    def __init__(self, function: Callable[[A], T]) -> None:
        self._payload = pickle.dumps((function, torch.get_num_threads()))
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Apart[A, T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, argument: A, limit_s: float) -> T:
        """What ``function`` returns for ``argument``; the start of the process is not part of ``limit_s``.

        Raises TimeoutError after ``limit_s`` seconds, ProcessDiedError, and what the function raises.
        """
        if self._process is None:
            self._start()
        assert self._connection is not None
        self._connection.send_bytes(pickle.dumps(argument))
        answer: T = self._answer(limit_s)
        return answer

    def close(self) -> None:
        """End the process and all that it has started, whatever they are doing."""
        if self._process is not None and self._connection is not None:
            self._connection.close()
            _kill(self._process)
        self._process = self._connection = None

    def _start(self) -> None:
        processes = context()
        if isinstance(processes, ForkServerContext):  # what is imported once need not be for every process
            processes.set_forkserver_preload([__name__, "holdfast.export.measuring"])
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(target=_serve, args=(theirs, self._payload), daemon=True)
        self._process.start()
        theirs.close()
        self._answer(None)

    def _answer(self, limit_s: float | None) -> Any:
        assert self._connection is not None
        assert self._process is not None
        if not wait([self._connection, self._process.sentinel], limit_s):
            self.close()
            raise TimeoutError(f"it took longer than {limit_s:g} s")
        try:
            answer, error = self._connection.recv() if self._connection.poll() else (None, None)
        except EOFError:
            pass
        else:
            if error is not None:
                raise error
            if answer is not None:
                return answer[0]
        self.close()
        raise ProcessDiedError("its process ended without an answer")


def _serve(connection: Connection, payload: bytes) -> None:
    """Answer until the other side is gone."""
    function, threads = pickle.loads(payload)
    torch.set_num_threads(threads)
    connection.send(((None,), None))
    while True:
        try:
            argument = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            connection.send(((function(argument),), None))
        except Exception as error:
            connection.send((None, error))


def _kill(process: BaseProcess) -> None:
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    process.kill()
    process.join()
