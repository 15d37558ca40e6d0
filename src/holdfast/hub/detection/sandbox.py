"""Commands of others, asked for a few words: bounded in time, output, processes and files written."""

from __future__ import annotations

import math
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

OUTPUT_BYTES: Final = 1 << 16
PROCESSES: Final = 64
TOKEN: Final = "HOLDFAST_DETECTION"
_TICK_S = 0.1

# No core files, no file beyond a mebibyte, and few seconds of the processor even for what escapes.
# As in hub/process.py, a guard in the group waits for the asking process to vanish, and then ends the group.
_GUARD = """
ulimit -c 0; ulimit -f 2048; ulimit -t "$1"; shift
exec 3<&0 </dev/null
( ( read -r _ <&3; kill -s KILL -- -$$ ) >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
"""


@dataclass(frozen=True)
class Answer:
    """What a command said (stdout and stderr together), or why its words do not count."""

    text: str
    problem: str | None = None


class Sandbox:
    """Runs commands, several at once if asked from several threads; leaves no process behind when closed.

    Each runs without a shell of its own making, in a process group and session of its own, in the folder
    ``/``, with a closed stdin and ``LC_ALL=C``. What starts a session of its own to escape is recognised by
    its environment when the sandbox is closed (Linux).
    """

    def __init__(self) -> None:
        self._token = secrets.token_hex(16)
        self._used = False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._used:
            _end_all_with(f"{TOKEN}={self._token}".encode())

    def ask(
        self, command: Sequence[str], *, timeout: float, environment: Mapping[str, str] | None = None
    ) -> Answer:
        """Run ``command`` for at most ``timeout`` seconds, in this process's environment if none is given."""
        self._used = True
        given = os.environ if environment is None else environment
        variables = {**given, "LC_ALL": "C", "LANGUAGE": "C", TOKEN: self._token}
        watch, hold = os.pipe()
        try:
            with subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", str(math.ceil(timeout) + 1), *command],
                stdin=watch,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=variables,
                start_new_session=True,
            ) as process:
                try:
                    return _listen(process, timeout)
                finally:
                    # The guard keeps the group, and with it the number, in use until now.
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
        except (OSError, ValueError) as error:  # too long an argument, a zero byte in it
            return Answer("", str(error))
        finally:
            os.close(watch)
            os.close(hold)


def _listen(process: subprocess.Popen[bytes], timeout: float) -> Answer:
    assert process.stdout is not None
    deadline = time.monotonic() + timeout
    data = bytearray()
    problem = _read(process, process.stdout, data, deadline)
    text = data[:OUTPUT_BYTES].decode(errors="replace")
    if problem is None:
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            problem = "time"
        else:
            if code:
                last = text.strip().splitlines()[-1:] or [""]
                what = f"exit code {code}" if code > 0 else f"signal {-code}"
                problem = f"{what}: {last[0][:200]}" if last[0] else what
    return Answer(text, f"no answer within {timeout:g} s" if problem == "time" else problem)


def _read(
    process: subprocess.Popen[bytes], stream: IO[bytes], data: bytearray, deadline: float
) -> str | None:
    """Collect output until its end; the reason if the limits come first."""
    counted = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (now := time.monotonic()) < deadline:
            if now - counted > _TICK_S:
                counted = now
                if _members(process.pid) > PROCESSES:
                    return f"more than {PROCESSES} processes"
            ended = process.poll() is not None  # asked first: what it wrote before its end is still read
            if not selector.select(min(_TICK_S, deadline - now)):
                if ended:
                    return None  # a process that it left holds its output open
                continue
            chunk = os.read(stream.fileno(), OUTPUT_BYTES)
            if not chunk:
                return None
            data += chunk
            if len(data) > OUTPUT_BYTES:
                return f"more than {OUTPUT_BYTES >> 10} KiB of output"
    return "time"


def _members(group: int) -> int:
    count = 0
    for pid in _pids():
        with suppress(OSError):
            count += os.getpgid(pid) == group
    return count


def _pids() -> list[int]:
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return []


def _end_all_with(mark: bytes) -> None:
    # Twice over: what is forked while the list is read has its parent killed, and is seen the next time.
    for _ in range(20):
        found = False
        for pid in _pids():
            with suppress(OSError):
                if pid != os.getpid() and mark in Path(f"/proc/{pid}/environ").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    found = True
        if not found:
            return
        time.sleep(0.005)
