import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.data.order import in_sequence, shuffled
from holdfast.data.table import PixelTable


def table(sizes, block_rows):
    n = sum(sizes)
    made = PixelTable("t", np.zeros((n, 1, 1, 1), np.uint8), np.zeros(n, np.int64), ["a"], fingerprint="0")
    made.block_rows = block_rows
    made.part = np.repeat(np.arange(len(sizes)), sizes)
    made.row = np.concatenate([np.arange(size) for size in sizes])
    return made


@settings(max_examples=80)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    block_rows=st.sampled_from([1, 3, 7, 128]),
    buffer_rows=st.sampled_from([1, 3, 16, 1000]),
    epoch=st.integers(0, 3),
    keep=st.floats(0, 1),
)
def test_every_order_is_a_permutation_in_bounded_buffers(sizes, block_rows, buffer_rows, epoch, keep):
    t = table(sizes, block_rows)
    n = len(t.labels)
    indices = np.flatnonzero(np.random.default_rng(1).random(n) <= keep)
    for order in (shuffled(t, indices, buffer_rows, 5, epoch), in_sequence(t, indices, buffer_rows)):
        assert np.array_equal(np.sort(order.events), indices)
        assert order.bounds[0] == 0
        assert order.bounds[-1] == len(indices)
        assert np.all(np.diff(order.bounds) <= buffer_rows + block_rows)


def test_seed_and_epoch_decide_the_order():
    t = table([500, 500], 16)
    everything = np.arange(1000)

    def events(seed, epoch):
        return shuffled(t, everything, 200, seed, epoch).events

    assert np.array_equal(events(1, 1), events(1, 1))
    assert not np.array_equal(events(1, 1), events(1, 2))
    assert not np.array_equal(events(1, 1), events(2, 1))


def test_every_buffer_mixes_all_files_also_of_unequal_size():
    t = table([3000, 1000], 10)
    order = shuffled(t, np.arange(4000), 200, 0, 0)
    for low, high in zip(order.bounds[:-1], order.bounds[1:], strict=True):
        assert np.mean(t.part[order.events[low:high]] == 0) == pytest.approx(0.75, abs=0.15)


def test_a_sequence_keeps_the_rows_of_a_file_and_files_in_step():
    t = table([30, 10], 4)
    events = in_sequence(t, np.arange(40), 16).events
    assert np.all(np.diff(events[t.part[events] == 0]) == 1)
    assert np.all(np.diff(events[t.part[events] == 1]) == 1)
    assert np.bincount(t.part[events[:20]]).tolist() == [15, 5]


def test_shuffling_moves_rows_far():
    events = shuffled(table([4000], 8), np.arange(4000), 500, 0, 0).events
    assert np.abs(events - np.arange(4000)).mean() > 1000
