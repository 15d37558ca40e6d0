"""Global random generators during training: seeded anew for every step, and given back afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_step(seed: int, device: torch.device) -> None:
    """Seed the global generators of torch (dropout), numpy and Python.

    A step that starts from its own seed draws the same after a kill as without one, in any process.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def untouched_global_generators(device: torch.device) -> Iterator[None]:
    """Put the global generators back as they were when the block ends."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
