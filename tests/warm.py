"""Fresh processes that need not import torch: forked from one that has imported it, and nothing else."""

from __future__ import annotations

import os
import runpy
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch"])


def start(arguments: list[str], output: Path, cwd: Path | None = None) -> ForkServerProcess:
    """``python ARGUMENTS`` (a script and its words, or -c and code) in ``cwd``; prints to ``output``."""
    process = _CONTEXT.Process(
        target=_run, args=(arguments, str(output), str(cwd or Path.cwd()), dict(os.environ))
    )
    process.start()
    return process


def run(arguments: list[str], output: Path, cwd: Path | None = None, timeout: float = 240) -> None:
    """The same, to its end. Raises AssertionError where that is no success."""
    process = start(arguments, output, cwd)
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode == 0, output.read_text()


def _run(arguments: list[str], output: str, cwd: str, environment: dict[str, str]) -> None:
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path.insert(0, "")
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")
