import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.seeding import derive, generator


def test_seeds_are_pinned_for_ever():
    assert derive(0) == 3456079177858693020
    assert derive(0, "train", 3) == 9010243902811717215
    assert derive(-1, "a/b") == 7302731258365844474
    assert generator(0, "x").integers(0, 1000, 3).tolist() == [995, 323, 401]


@given(st.integers(), st.lists(st.text(max_size=5), max_size=3))
def test_seeds_have_63_bits(seed, names):
    assert 0 <= derive(seed, *names) < 2**63


def test_streams_differ():
    seeds = {derive(seed, name, index) for seed in range(10) for name in "ab" for index in range(50)}
    assert len(seeds) == 1000


def test_a_stream_repeats_and_its_text_counts():
    assert derive(np.int64(5), 1) == derive(5, "1")
    assert np.array_equal(generator(1, "a").random(5), generator(1, "a").random(5))
