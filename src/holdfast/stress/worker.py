"""The part of a campaign that runs in worker processes or threads."""

from __future__ import annotations

import hashlib
import pickle
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from holdfast.core.protocols import Stressor
from holdfast.stress.trial import Laboratory, Line, laboratory


@dataclass(frozen=True)
class Chunk:
    """Some trials (number, batch number) of the stressor called ``key`` in the campaign."""

    key: str
    trials: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Setup:
    """Everything a worker needs, packed once; workers unpack it once and recognise it by ``digest``."""

    payload: bytes
    digest: str

    @classmethod
    def pack(
        cls, model: Any, data: Any, stressors: dict[str, Stressor], *, batch_size: int, seed: int
    ) -> Setup:
        """Pickle model and data (or their factories) and stressors. Raises what pickling raises."""
        payload = pickle.dumps((model, data, stressors, batch_size, seed))
        return cls(payload, hashlib.sha256(payload).hexdigest())


# One laboratory a thread: hooks on a model shared by threads would strike each other's trials.
_local = threading.local()


def run_chunk(setup: Setup, chunk: Chunk) -> list[Line]:
    """Run the trials of ``chunk`` one after another and return their lines."""
    if getattr(_local, "digest", None) != setup.digest:
        _open(setup)
    lab: Laboratory = _local.laboratory
    stressor: Stressor = _local.stressors[chunk.key]
    return [{"stressor": chunk.key, **lab.run(stressor, trial, batch)} for trial, batch in chunk.trials]


def _open(setup: Setup) -> None:
    if hasattr(_local, "stack"):
        _local.stack.close()
    model, data, stressors, batch_size, seed = pickle.loads(setup.payload)
    _local.stack = ExitStack()
    _local.laboratory = _local.stack.enter_context(laboratory(model, data, batch_size=batch_size, seed=seed))
    _local.stressors, _local.digest = stressors, setup.digest
