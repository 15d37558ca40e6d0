import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.data.splits import limited, select, shares, uniform
from holdfast.data.table import PixelTable


def table(labels, official=None, part=None):
    labels = np.asarray(labels, dtype=np.int64)
    made = PixelTable(
        "t",
        np.zeros((len(labels), 1, 2, 2), np.uint8),
        labels,
        [str(k) for k in range(int(labels.max(initial=1)) + 1)],
        fingerprint="0" * 64,
        official=official,
    )
    if part is not None:
        made.part = np.asarray(part)
    return made


@given(n=st.integers(0, 300), seed=st.integers(0, 2**40), official=st.booleans())
def test_splits_are_disjoint_and_complete(n, seed, official):
    marks = np.arange(n) % 6 == 5 if official else None
    t = table(np.zeros(n), marks)
    parts = [select(t, split, seed) for split in ("train", "val", "test")]
    assert np.array_equal(np.sort(np.concatenate(parts)), select(t, "all", seed))
    assert np.array_equal(np.union1d(parts[0], parts[1]), select(t, "train_val", seed))
    assert all(np.all(np.diff(part) > 0) for part in parts)
    if official:
        assert np.array_equal(parts[2], np.flatnonzero(marks))


@pytest.mark.parametrize(
    ("official", "expected"),
    [(None, (0.7, 0.15, 0.15)), (np.arange(40_000) < 10_000, (0.675, 0.075, 0.25))],
    ids=["hashed", "official test set"],
)
def test_shares_of_the_splits(official, expected):
    t = table(np.zeros(40_000), official)
    found = [len(select(t, split, 1)) / 40_000 for split in ("train", "val", "test")]
    assert found == pytest.approx(expected, abs=0.01)


def test_an_event_keeps_its_split_whatever_is_opened_beside_it():
    small, large = table(np.zeros(100)), table(np.zeros(5000))
    assert np.array_equal(select(small, "val", 3), select(large, "val", 3)[: len(select(small, "val", 3))])
    assert not np.array_equal(select(large, "val", 3), select(large, "val", 4))


def test_unknown_split():
    with pytest.raises(UsageError, match="one of train, val, test, train_val, all"):
        select(table([0, 1]), "dev", 0)


@settings(max_examples=60)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=80),
    limit=st.integers(1, 100),
)
def test_a_limit_spreads_over_classes_and_is_nested(labels, limit):
    t = table(labels)
    everything = np.arange(len(labels))
    taken = limited(t, everything, limit)
    assert len(taken) == min(limit, len(labels))
    counts = np.bincount(t.labels[taken], minlength=3)
    wanted = np.bincount(t.labels, minlength=3) * min(1, limit / len(labels))
    assert np.all(np.abs(counts - wanted) <= 1.5)
    assert set(limited(t, everything, max(1, limit // 2))) <= set(taken)


def test_a_limit_spreads_over_files():
    t = table(np.zeros(30), part=np.repeat([0, 1], 15))
    assert limited(t, np.arange(30), 4).tolist() == [0, 1, 15, 16]


@pytest.mark.parametrize("limit", [0, -1])
def test_bad_limit(limit):
    with pytest.raises(UsageError, match="limit: expected at least 1"):
        limited(table([0, 1]), np.arange(2), limit)


def test_shares_mix_groups_in_proportion():
    groups = np.array([0] * 6 + [1] * 3)
    assert groups[np.argsort(shares(groups), kind="stable")].tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 1] or (
        np.bincount(groups[np.argsort(shares(groups), kind="stable")][:3]).tolist() == [2, 1]
    )
    assert shares(np.zeros(0, dtype=np.int64)).shape == (0,)


def test_uniform_is_uniform_and_depends_on_key():
    rows = np.arange(100_000)
    values = uniform(rows, 5)
    assert values.min() >= 0
    assert values.max() < 1
    assert np.abs(np.histogram(values, 20, (0, 1))[0] / 5000 - 1).max() < 0.06
    assert np.abs(np.corrcoef(values, uniform(rows, 6))[0, 1]) < 0.015
    assert np.abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.015
