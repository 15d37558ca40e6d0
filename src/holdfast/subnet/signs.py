"""The signs of a binary network: a documented generator of its own, so that a seed means the same everywhere.

Element i of a layer, in C order, has the sign of bit i mod 64 (the lowest first) of word i // 64: set is +1.
Word j is SplitMix64's (Steele, Lea, Flood, OOPSLA 2014) output number j for the key of the layer,

    z = key + (j + 1) · 9E3779B97F4A7C15
    z = (z ^ (z >> 30)) · BF58476D1CE4E5B9
    z = (z ^ (z >> 27)) · 94D049BB133111EB
    word = z ^ (z >> 31)                            all modulo 2⁶⁴, constants in hexadecimal

and the key is ``core.seeding.derive(seed, "signs", name of the layer)``: the first 63 bits of a SHA-256.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.core.seeding import derive

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def layer_key(seed: int, layer: str) -> int:
    """The 63-bit key of the layer called ``layer``."""
    return derive(seed, "signs", layer)


def words(key: int, count: int) -> NDArray[np.uint64]:
    """The first ``count`` words of the stream of ``key``."""
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        return z ^ (z >> np.uint64(31))


def sign_bits(seed: int, layer: str, count: int) -> NDArray[np.bool_]:
    """Whether each of the ``count`` weights of ``layer`` is +1 (else -1)."""
    stream = words(layer_key(seed, layer), -(-count // 64))
    little = stream.astype("<u8").view(np.uint8)
    return np.unpackbits(little, bitorder="little", count=count).astype(np.bool_)
