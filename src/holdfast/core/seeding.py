"""Seeds: every random draw belongs to a named stream derived from one user-given seed."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *names: object) -> int:
    """Return a 63-bit seed for the stream ``names`` under ``seed``.

    Streams are independent of each other and of the order in which they are asked for, so a resumed or
    parallel run draws what an undisturbed one would. The text of each name counts, not its type.
    """
    text = "/".join([str(int(seed)), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """Return the numpy generator (PCG64) of the stream ``names`` under ``seed``."""
    return np.random.Generator(np.random.PCG64(derive(seed, *names)))
