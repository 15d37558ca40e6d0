"""Programs in processes of their own: started, watched, stopped, and their end explained."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from holdfast.core.errors import INTERRUPTED_EXIT_CODE, InfrastructureError, StepError
from holdfast.core.paths import storage_errors
from holdfast.hub import limits, worker
from holdfast.hub.cache import LOG, OUTPUTS
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import PLACEHOLDER, Program, Resources
from holdfast.hub.needs import Satisfied, place, variables
from holdfast.hub.pulled import require_consent

GRACE_S = 10.0
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)

# The guard waits in the program's group for the runner to vanish (end of file on its pipe), however that
# happens, and then ends the whole group. It is forked twice so that it is no child of the program.
_GUARD = """
exec 3<&0 </dev/null
( ( read -r _ <&3; kill -s KILL -- -$$ ) >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
"""


@dataclass(frozen=True)
class Call:
    """One program, its input values, the work folder it runs in (``outputs/``, ``log.txt``), its needs."""

    component: Component
    inputs: Mapping[str, Any]
    work: Path
    needs: Mapping[str, Satisfied] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The folder that the program writes."""
        return self.work / OUTPUTS

    def command(self) -> list[str]:
        """The command line; for a Python entry it writes ``call.json``, which the worker reads."""
        program = described(self.component, Program)
        if program.entry.command is not None:
            return self._expanded(program.entry.command)
        call = {
            "entry": program.entry.python,
            "here": str(self.component.folder),
            "out": str(self.out),
            "inputs": dict(self.inputs),
            "types": {name: item.type for name, item in program.inputs.items()},
        }
        file = self.work / "call.json"  # read once, by the process that starts next: no need of the disk
        with storage_errors(file):
            file.write_text(json.dumps(call, allow_nan=False), encoding="utf-8")
        return [sys.executable, "-u", "-P", worker.__file__, str(self.work)]

    def _expanded(self, arguments: list[str]) -> list[str]:
        here = self.component.folder
        places = {"python": sys.executable, "here": str(here), "out": str(self.out)}

        def text(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("needs."):
                return place(self.needs, name.removeprefix("needs."))
            return places[name] if name in places else _as_argument(self.inputs[name.removeprefix("inputs.")])

        expanded: list[str] = []
        for index, argument in enumerate(arguments):
            whole = PLACEHOLDER.fullmatch(argument)
            value = self.inputs.get(whole[1].removeprefix("inputs.")) if whole else None
            if (
                whole
                and isinstance(value, list)
                and self.component.inputs[whole[1].removeprefix("inputs.")].type == "paths"
            ):
                expanded += [str(item) for item in value]
            elif index < 2 and not argument.startswith("{") and (here / argument).is_file():
                expanded.append(str(here / argument))
            else:
                expanded.append(PLACEHOLDER.sub(text, argument))
        return expanded


class Stop:
    """A way to interrupt programs that other threads have started; those started later are ended at once."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    @contextmanager
    def watch(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Count ``process`` among the running ones. Raises KeyboardInterrupt if they are to stop."""
        with self._lock:
            self._running.add(process)
        try:
            if self.asked.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            with self._lock:
                self._running.discard(process)

    def send(self, number: signal.Signals) -> None:
        """Signal the groups of all running programs; from now on none starts."""
        self.asked.set()
        with self._lock:
            for process in self._running:
                _signal(process, number)


def execute(
    call: Call,
    *,
    timeout: float | None = None,
    keep: tuple[int, ...] = (),
    resources: Resources | None = None,
    cpus: Sequence[int] = (),
    stop: Stop | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run ``call`` to its end in a process group of its own; its words go to ``log.txt``.

    ``keep`` are file descriptors that the program inherits (the lock of its step), ``cpus`` the cores it may
    run on, ``environment`` further variables. On a terminal the program's stderr passes through. Raises
    StepError if it fails, crashes, exceeds ``timeout`` seconds or its memory, with the exit code of the
    program's own HoldfastError; InfrastructureError if it was killed from outside; KeyboardInterrupt after
    the group has ended.
    """
    require_consent(call.component)  # the one place where programs start; never leave it out
    (call.work / "error.json").unlink(missing_ok=True)
    command = call.command()
    watch, hold = os.pipe()
    log = call.work / LOG
    terminal = sys.stderr is not None and sys.stderr.isatty()
    try:
        with storage_errors(log), log.open("wb") as sink, limits.pinned(cpus):
            process = subprocess.Popen(
                ["/bin/sh", "-c", limits.prelude(resources) + _GUARD, "sh", *command],
                stdin=watch,
                stdout=sink,
                stderr=None if terminal else subprocess.STDOUT,
                cwd=call.out,
                env=_environment()
                | variables(call.needs)
                | limits.environment(resources)
                | dict(environment or {}),
                pass_fds=keep,
                start_new_session=True,
            )
        code = _wait(process, timeout, resources, stop or Stop())
    except _OverMemoryError as error:
        raise StepError(f"used more than {error} MB of memory", remedy=f"see {log}") from None
    finally:
        os.close(watch)
        os.close(hold)
    if code is None:
        raise StepError(f"timed out after {timeout:g} s", remedy=f"see {log}")
    if code == INTERRUPTED_EXIT_CODE:
        raise KeyboardInterrupt
    if code != 0:
        raise _failure(call.work, code)


class _OverMemoryError(Exception):
    """The limit in MB."""


def _wait(
    process: subprocess.Popen[bytes], timeout: float | None, resources: Resources | None, stop: Stop
) -> int | None:
    """The exit code, None after a timeout; nothing of the group is left when this returns or raises."""
    try:
        with stop.watch(process):
            code = _watched(process, timeout, resources.memory_mb if resources else None)
        if stop.asked.is_set():
            raise KeyboardInterrupt
        return code
    except subprocess.TimeoutExpired:
        return None
    except KeyboardInterrupt:
        _signal(process, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        raise
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _watched(process: subprocess.Popen[bytes], timeout: float | None, memory_mb: float | None) -> int:
    if memory_mb is None:
        return process.wait(timeout)
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = limits.WATCH_S if end is None else min(limits.WATCH_S, end - time.monotonic())
        try:
            return process.wait(max(0.0, left))
        except subprocess.TimeoutExpired:
            if end is not None and time.monotonic() >= end:
                raise
        if limits.resident_bytes(process.pid) > memory_mb * 1e6:
            raise _OverMemoryError(f"{memory_mb:g}")


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The guard keeps the group, and with it the number, in use until this SIGKILL.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM interrupt like Ctrl-C while the block runs in the main thread; elsewhere do nothing."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # signals belong to the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _failure(work: Path, code: int) -> StepError:
    log = work / LOG
    try:
        problem = json.loads((work / "error.json").read_text(encoding="utf-8"))
        return StepError(str(problem["message"]), exit_code=int(problem["exit_code"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    number = -code if code < 0 else 0
    if number in _FROM_OUTSIDE:
        return InfrastructureError(f"was killed (signal {number})", remedy=f"see {log}; is memory short?")
    end = f"crashed (signal {number})" if number else f"failed (exit code {code})"
    last = _last_line(log)
    return StepError(end, got=repr(last) if last else None, remedy=f"see {log}")


def _last_line(log: Path) -> str:
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else ""
    return ""


def _as_argument(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _environment() -> dict[str, str]:
    """This process's environment with absolute paths, since programs run in their output folder."""
    environment = dict(os.environ)
    for name in ("HOLDFAST_HOME", "HOLDFAST_DATA", "HOLDFAST_REPO", "PYTHONPATH"):
        parts = [part for part in environment.get(name, "").split(os.pathsep) if part]
        if parts:
            environment[name] = os.pathsep.join(str(Path(part).expanduser().absolute()) for part in parts)
    # The order of sets must not differ between a run and its repetition.
    environment.setdefault("PYTHONHASHSEED", "0")
    return environment
