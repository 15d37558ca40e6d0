"""The code of masks: its reference reads and writes bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from holdfast.core.errors import DataError
from holdfast.subnet import golomb


def reference(mask: NDArray[np.bool_], k: int) -> bytes:
    """The code as the module's text describes it."""
    gaps, gap = [], 0
    for kept in mask:
        if kept:
            gaps.append(gap)
            gap = 0
        else:
            gap += 1
    quotients = "".join("1" * (gap >> k) + "0" for gap in gaps)
    remainders = "".join(format(gap & ((1 << k) - 1), f"0{k}b") if k else "" for gap in gaps)
    halves = [half + "0" * (-len(half) % 8) for half in (quotients, remainders)]
    return b"".join(int(h, 2).to_bytes(len(h) // 8, "big") if h else b"" for h in halves)


@given(st.lists(st.booleans(), max_size=300))
def test_any_mask_comes_back(bits: list[bool]) -> None:
    mask = np.array(bits, dtype=np.bool_)
    code, k = golomb.encode(mask)
    assert code == reference(mask, k)
    found, used = golomb.decode(code + b"what follows", len(mask), int(mask.sum()), k)
    assert used == len(code)
    assert (found == mask).all()


@pytest.mark.parametrize("density", [0.003, 0.01, 0.13, 0.5, 0.9, 1.0])
def test_the_code_is_near_the_entropy(density: float) -> None:
    mask = np.random.default_rng(0).random(200_000) < density
    code, k = golomb.encode(mask)
    found, _ = golomb.decode(code, len(mask), int(mask.sum()), k)
    assert (found == mask).all()
    parts = [q for q in (density, 1 - density) if 0 < q < 1]
    entropy = -sum(q * np.log2(q) for q in parts) * len(mask)
    assert 8 * len(code) <= max(1.05 * entropy, len(mask)) + 16


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(-1, 400), st.integers(-1, 40))
def test_rubbish_is_refused_or_is_a_mask(code: bytes, size: int, kept: int, k: int) -> None:
    try:
        mask, used = golomb.decode(code, size, kept, k)
    except DataError:
        return
    assert mask.sum() == kept
    assert used <= len(code)
