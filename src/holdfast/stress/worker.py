"""The part of a campaign that runs in worker processes or threads."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context, parent_process
from typing import TYPE_CHECKING, Any

from holdfast.core.protocols import Stressor
from holdfast.stress.trial import Laboratory, Line, laboratory

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


@dataclass(frozen=True)
class Chunk:
    """Some trials (number, batch number) of the stressor called ``key`` in the campaign."""

    key: str
    trials: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Setup:
    """Everything a worker needs, packed once; workers unpack it once and recognise it by ``digest``.

    ``limit_s``: how long one trial may take, in seconds.
    """

    payload: bytes
    digest: str
    limit_s: float | None = None

    @classmethod
    def pack(
        cls,
        model: Any,
        data: Any,
        stressors: dict[str, Stressor],
        *,
        batch_size: int,
        seed: int,
        limit_s: float | None = None,
    ) -> Setup:
        """Pickle model and data (or their factories) and stressors. Raises what pickling raises."""
        payload = pickle.dumps((model, data, stressors, batch_size, seed))
        return cls(payload, hashlib.sha256(payload).hexdigest(), limit_s)


def context() -> SpawnContext | ForkServerContext:
    """How worker processes start: forked, where there is such a thing, off a server that has only imported.

    A copy of this process itself may hang, since it may have used OpenMP threads; one that starts from
    nothing takes seconds to import torch.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    server = get_context("forkserver")
    server.set_forkserver_preload([__name__])
    return server


# One laboratory a thread: hooks on a model shared by threads would strike each other's trials.
_local = threading.local()


def run_chunk(setup: Setup, chunk: Chunk) -> list[Line]:
    """Run the trials of ``chunk`` one after another and return their lines.

    In a process started for the purpose, one that takes longer than the time limit ends the process.
    """
    lab, stressors = opened(setup)
    lines = []
    for trial, batch in chunk.trials:
        with _deadline(setup.limit_s):
            lines.append({"stressor": chunk.key, **lab.run(stressors[chunk.key], trial, batch)})
    return lines


def opened(setup: Setup) -> tuple[Laboratory, dict[str, Stressor]]:
    """The laboratory of ``setup`` in this thread, made once, and its stressors."""
    if getattr(_local, "digest", None) != setup.digest:
        _open(setup)
    return _local.laboratory, _local.stressors


@contextmanager
def _deadline(limit_s: float | None) -> Iterator[None]:
    """End this process if the block takes longer, even where no Python runs; the parent process never."""
    if limit_s is None or parent_process() is None:
        yield
        return
    with open(os.devnull, "w") as nowhere:
        # A C thread that needs no interpreter: what hangs may be a kernel that holds the lock.
        faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _open(setup: Setup) -> None:
    if hasattr(_local, "stack"):
        _local.stack.close()
    model, data, stressors, batch_size, seed = pickle.loads(setup.payload)
    _local.stack = ExitStack()
    _local.laboratory = _local.stack.enter_context(laboratory(model, data, batch_size=batch_size, seed=seed))
    _local.stressors, _local.digest = stressors, setup.digest
