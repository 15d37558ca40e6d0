"""What a step's processes may use: cores they are pinned to, and memory, refused or watched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.hub.kinds import Resources

WATCH_S = 0.2
"""How often the memory of a step with a limit is looked at, in seconds."""


def prelude(resources: Resources | None) -> str:
    """Lines of a shell that limit what follows: private memory that a process may have (RLIMIT_DATA).

    The address space is left alone: programs reserve much of it that they never use.
    """
    if resources is None or resources.memory_mb is None:
        return ""
    return f"ulimit -d {max(1, int(resources.memory_mb * 1e6 / 1024))}\n"


def environment(resources: Resources | None) -> dict[str, str]:
    """Variables that tell numerical libraries how many threads to use."""
    return {} if resources is None else {"OMP_NUM_THREADS": str(resources.cores)}


@contextmanager
def pinned(cpus: Sequence[int]) -> Iterator[None]:
    """Let processes that this thread starts in the block run on ``cpus`` alone, where any are named."""
    if not cpus or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)  # of this thread
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def resident_bytes(session: int) -> int:
    """Resident memory of all processes of ``session`` together; 0 where the system does not tell."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # a process may end at any time
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE")
