"""Golomb–Rice code of a sparse mask: the gaps between kept weights (Golomb 1966, Rice 1979).

The gap before a kept weight is the number of weights left out since the one kept before it. With parameter k
a gap is its quotient gap >> k in unary (that many ones, then a zero) and its remainder in k bits. A layer's
code is the quotients of all its gaps, then all remainders, so that both halves can be read without walking
through them one by one; bits fill bytes from the highest, and each half ends on a byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError

MOST = 31
"""The largest parameter."""


def parameter(gaps: NDArray[np.int64]) -> int:
    """The parameter that makes the code of ``gaps`` shortest; the least one of equals."""
    sizes = [int((gaps >> k).sum()) + len(gaps) * (1 + k) for k in range(MOST + 1)]
    return int(np.argmin(sizes))


def encode(mask: NDArray[np.bool_]) -> tuple[bytes, int]:
    """The code of ``mask`` (n,) and its parameter."""
    kept = np.flatnonzero(mask).astype(np.int64)
    gaps = np.diff(kept, prepend=-1) - 1
    k = parameter(gaps)
    ends = np.cumsum((gaps >> k) + 1)
    quotients = np.ones(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    quotients[ends - 1] = 0
    remainders = (gaps[:, None] >> np.arange(k - 1, -1, -1)) & 1
    return np.packbits(quotients).tobytes() + np.packbits(remainders.astype(np.uint8)).tobytes(), k


def decode(code: bytes, size: int, kept: int, k: int) -> tuple[NDArray[np.bool_], int]:
    """The mask (``size``,) with ``kept`` weights that ``code`` begins with, and how many bytes it took.

    Raises DataError where ``code`` is no such mask.
    """
    if not 0 <= kept <= size or not 0 <= k <= MOST:
        raise _damaged(f"at most {size} weights and a parameter up to {MOST}", f"{kept} and {k}")
    raw = np.frombuffer(code, dtype=np.uint8)
    most = kept + ((size - kept) >> k)  # bits of quotients that a mask of this size can have
    bits = np.unpackbits(raw[: -(-most // 8)], count=min(most, 8 * len(raw)))
    zeros = np.flatnonzero(bits == 0)[:kept]
    if len(zeros) < kept:
        raise _damaged(f"{kept} of {size} weights", f"{len(zeros)} ends of quotients")
    quotients = np.diff(zeros, prepend=-1) - 1
    begin = -(-(int(zeros[-1]) + 1) // 8) if kept else 0
    length = -(-kept * k // 8)
    if len(raw) < begin + length:
        raise _damaged(f"{begin + length} bytes", f"{len(raw)}")
    low = np.unpackbits(raw[begin : begin + length], count=kept * k).reshape(kept, k).astype(np.int64)
    gaps = (quotients << k) + (low << np.arange(k - 1, -1, -1)).sum(1)
    places = np.cumsum(gaps + 1) - 1
    if kept and places[-1] >= size:
        raise _damaged(f"weights below {size}", f"weight {places[-1]}")
    mask = np.zeros(size, dtype=np.bool_)
    mask[places] = True
    return mask, begin + length


def _damaged(expected: str, got: str) -> DataError:
    return DataError("Golomb-Rice code", expected=expected, got=got, remedy="fetch or pack the file again")
