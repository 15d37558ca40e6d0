from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.stress.secded import CLEAN, CORRECTED, DETECTED, decode, encode

words = st.integers(0, 2**64 - 1)


def codeword(word: int) -> list[int]:
    """The 72 bits by the book: position 0 is the parity of all, powers of two are checks, the rest data."""
    bits = [0] * 72
    data = [position for position in range(1, 72) if bin(position).count("1") > 1]
    for k, position in enumerate(data):
        bits[position] = word >> k & 1
    for k in range(7):
        bits[1 << k] = sum(bits[at] for at in range(1, 72) if at >> k & 1) % 2
    bits[0] = sum(bits) % 2
    return bits


def by_the_book(bits: list[int]) -> tuple[int, int]:
    """Word and status."""
    bits = list(bits)
    syndrome = 0
    for position in range(1, 72):
        syndrome ^= position * bits[position]
    status = CLEAN
    if sum(bits) % 2:
        status = CORRECTED if syndrome < 72 else DETECTED
        if syndrome < 72:
            bits[syndrome] ^= 1
    elif syndrome:
        status = DETECTED
    data = [position for position in range(1, 72) if bin(position).count("1") > 1]
    return sum(bits[position] << k for k, position in enumerate(data)), status


def stored(bits: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Word and checks as arrays, from 72 bits by the book."""
    data = [position for position in range(1, 72) if bin(position).count("1") > 1]
    word = sum(bits[position] << k for k, position in enumerate(data))
    check = sum(bits[1 << k] << k for k in range(7)) | bits[0] << 7
    return np.array([word], dtype=np.uint64), np.array([check], dtype=np.uint8)


@given(words)
def test_check_bits_are_those_of_the_book(word: int) -> None:
    data, check = stored(codeword(word))
    assert int(data[0]) == word
    assert encode(data)[0] == check[0]


@example(0, {0, 8, 64})  # syndrome 72: the first position that is not there
@given(words, st.sets(st.integers(0, 71), max_size=6))
def test_decoding_is_that_of_the_book(word: int, wrong: set[int]) -> None:
    bits = codeword(word)
    for position in wrong:
        bits[position] ^= 1
    found, status = decode(*stored(bits))
    assert (int(found[0]), int(status[0])) == by_the_book(bits)


def patterns(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Every way to invert ``count`` of 72 bits: masks of data and of check bits."""
    chosen = np.array(list(combinations(range(72), count)), dtype=np.uint64)
    one = np.uint64(1)
    data = np.where(chosen < 64, one << (chosen % 64), 0).astype(np.uint64)
    checks = np.where(chosen >= 64, one << (chosen % 8), 0).astype(np.uint8)
    return np.bitwise_xor.reduce(data, 1), np.bitwise_xor.reduce(checks, 1)


@pytest.mark.parametrize("word", [0, 2**64 - 1, 0x3FC0_0000_BF80_0001], ids=hex)
def test_every_single_error_is_corrected_and_every_double_one_detected(word: int) -> None:
    true = np.uint64(word)
    for count, expected in ((0, CLEAN), (1, CORRECTED), (2, DETECTED)):
        data, checks = patterns(count) if count else (np.zeros(1, np.uint64), np.zeros(1, np.uint8))
        found, status = decode(true ^ data, encode(np.full_like(data, true)) ^ checks)
        assert (status == expected).all()
        if count < 2:
            assert (found == true).all()


def test_triple_errors_are_detected_or_made_worse() -> None:
    data, checks = patterns(3)
    found, status = decode(data, checks)  # the codeword of 0 is 0
    assert set(np.unique(status)) == {CORRECTED, DETECTED}
    # The 56 unused syndromes of 128 detect some; the rest end in a wrong word, or in one with wrong checks.
    wrong = found[status == CORRECTED] != 0
    assert wrong.mean() > 0.9
    assert 0.2 < (status == DETECTED).mean() < 0.5
