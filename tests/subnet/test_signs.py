"""The generator of signs: its reference is written out in Python's integers."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.subnet.signs import layer_key, sign_bits, words

FULL = (1 << 64) - 1


def splitmix64(key: int, index: int) -> int:
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & FULL
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & FULL
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & FULL
    return z ^ (z >> 31)


def test_words_are_splitmix64() -> None:
    # The first outputs for seed 0, as published with the generator.
    assert [hex(int(w)) for w in words(0, 3)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
    key = layer_key(7, "layer1.0.conv1")
    assert [int(w) for w in words(key, 5)] == [splitmix64(key, i) for i in range(5)]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_bits_come_from_the_lowest(count: int) -> None:
    key = layer_key(3, "fc")
    expected = [bool(splitmix64(key, i // 64) >> (i % 64) & 1) for i in range(count)]
    assert sign_bits(3, "fc", count).tolist() == expected


def test_keys_are_pinned() -> None:
    # A file of today must mean the same for ever: these numbers never change.
    assert layer_key(0, "conv1") == 2714413882835613143
    assert np.packbits(sign_bits(0, "conv1", 32)).tobytes().hex() == "a7b766f5"


def test_seeds_and_layers_differ() -> None:
    a, b, c = sign_bits(0, "a", 10_000), sign_bits(1, "a", 10_000), sign_bits(0, "b", 10_000)
    for one, other in ((a, b), (a, c), (b, c)):
        assert 0.47 < (one == other).mean() < 0.53
    assert 0.47 < a.mean() < 0.53
