"""A process of its own for trials that may kill it or never end."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from holdfast.stress.trial import Line
from holdfast.stress.worker import Chunk, Setup, context, run_chunk


class ProcessDiedError(Exception):
    """The process ended without an answer."""


class Cell:
    """Runs one trial at a time in another process; a process that died or was killed is replaced."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def run(self, chunk: Chunk) -> list[Line]:
        """The lines of ``chunk``.

        Raises ProcessDiedError; TimeoutError if it takes longer than the time limit of the setup, opening
        model and data not counted; and what the trial itself raises.
        """
        if self._process is None:
            self._start()
        assert self._connection is not None
        self._connection.send(chunk)
        return self._answer(self._setup.limit_s)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None and self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
        self._process = self._connection = None

    def _start(self) -> None:
        processes = context()
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(target=_serve, args=(theirs, self._setup), daemon=True)
        self._process.start()
        theirs.close()
        self._answer(None)

    def _answer(self, limit_s: float | None) -> list[Line]:
        assert self._connection is not None
        assert self._process is not None
        if not wait([self._connection, self._process.sentinel], limit_s):
            self.close()
            raise TimeoutError
        try:
            answer = self._connection.recv() if self._connection.poll() else None
        except EOFError:
            answer = None
        if answer is None:
            self.close()
            raise ProcessDiedError
        if isinstance(answer, Exception):
            raise answer
        lines: list[Line] = answer
        return lines


def _serve(connection: Connection, setup: Setup) -> None:
    """Answer chunks until the other side is gone, which keeps the time."""
    setup = replace(setup, limit_s=None)
    chunk = Chunk("", ())  # opens model and data
    while True:
        try:
            connection.send(run_chunk(setup, chunk))
        except Exception as error:
            connection.send(error)
        try:
            chunk = connection.recv()
        except EOFError:
            return
