"""SECDED(72,64): the extended Hamming code that memories with ECC protect 64-bit words with.

Positions 1 … 71 are those of Hamming's code (1950): the 7 that are powers of two hold check bits, the
others the data bits in order; check bit k makes the parity of all positions with bit k even. An eighth check
bit makes the parity of the whole even. One wrong bit is corrected, two are detected; three and more are
detected or taken for a single one elsewhere, as the syndrome has it.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Checks = NDArray[np.uint8]

CODE_BITS: Final = 72
DATA_BITS: Final = 64
CLEAN, CORRECTED, DETECTED = 0, 1, 2
Status = Literal[0, 1, 2]

_POSITIONS: Final = [position for position in range(1, CODE_BITS) if position & (position - 1)]
_MASKS: Final = np.array(
    [sum(1 << bit for bit, at in enumerate(_POSITIONS) if at >> k & 1) for k in range(7)], dtype=np.uint64
)
"""Which data bits check bit k covers."""
_FLIP: Final = np.zeros(128, dtype=np.uint64)
"""The data bit to invert for each syndrome; none for those of check bits."""
_FLIP[_POSITIONS] = np.left_shift(np.uint64(1), np.arange(DATA_BITS, dtype=np.uint64))


class Decoded(NamedTuple):
    """Words after decoding, and what the decoder says of each: CLEAN, CORRECTED or DETECTED."""

    words: Words
    status: NDArray[np.uint8]


def encode(words: Words) -> Checks:
    """The check bits of ``words`` (any shape): bits 0 … 6 Hamming's, bit 7 the parity of all."""
    checks = np.zeros(words.shape, dtype=np.uint8)
    for k, mask in enumerate(_MASKS):
        checks |= _parity(words & mask) << np.uint8(k)
    return checks | (_parity(words) ^ _parity(checks)) << np.uint8(7)


def decode(words: Words, checks: Checks) -> Decoded:
    """What the memory hands out for ``words`` stored with ``checks``.

    An even number of wrong bits with a syndrome is detected, and so is an odd one whose syndrome names a
    position beyond 71; the word is handed out as it is then. Everything else is taken for a single error.
    """
    difference = encode(words) ^ checks
    syndrome = difference & 0x7F
    # The parity over all 72 bits as they are stored.
    odd = _parity(words) ^ _parity(checks)
    detected = np.where(odd == 1, syndrome >= CODE_BITS, syndrome != 0)
    corrected = (odd == 1) & ~detected
    status = np.where(detected, DETECTED, np.where(corrected, CORRECTED, CLEAN)).astype(np.uint8)
    return Decoded(words ^ np.where(corrected, _FLIP[syndrome], np.uint64(0)), status)


def _parity(values: Words | Checks) -> NDArray[np.uint8]:
    parity: NDArray[np.uint8] = np.bitwise_and(np.bitwise_count(values), np.uint8(1))
    return parity
