import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from holdfast import data
from holdfast.core.errors import UsageError
from holdfast.data import stream as stream_module
from holdfast.data.hdf5 import ShowerTable


def numbers(batches):
    """Event number and label of every event, in order."""
    found = [(int(t), int(label)) for x, y in batches for t, label in zip(x[:, 1, 0, 0], y, strict=True)]
    assert all(number // 301 == label for number, label in found), "images and labels belong together"
    return found


@pytest.fixture(params=["cached", "uncached"])
def stream(request, two_files, monkeypatch):
    # Small blocks and buffers, so that batches span several of them.
    monkeypatch.setattr(ShowerTable, "block_rows", 16)
    monkeypatch.setattr(stream_module, "BUFFER_BYTES", 100 * 8192)
    cache_bytes = 0 if request.param == "uncached" else None
    return data.open(two_files, split="all", seed=3, cache_bytes=cache_bytes)


def test_batches_have_the_promised_form(stream):
    batches = list(stream.batches(64))
    assert [len(y) for _, y in batches] == [64] * 9 + [26]
    for x, y in batches:
        assert x.shape == (len(y), 2, 32, 32)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert x.is_contiguous()
    assert sum(y.sum() for _, y in batches) == 301


@pytest.mark.parametrize("shuffle", [False, True], ids=["sequence", "shuffled"])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 64, 602, 603])
def test_every_event_comes_once_in_a_reproducible_order(stream, shuffle, batch_size):
    first = numbers(stream.batches(batch_size, shuffle=shuffle))
    assert sorted(first) == [(k, int(k >= 301)) for k in range(602)]
    assert first == numbers(stream.batches(batch_size, shuffle=shuffle))
    # The order does not depend on the batch size.
    assert first == numbers(stream.batches(50, shuffle=shuffle))


@pytest.mark.parametrize("shuffle", [False, True], ids=["sequence", "shuffled"])
def test_indexed_batches_say_where_in_the_split_each_image_is(two_files, shuffle):
    stream = data.open(two_files, split="train", seed=3, limit=100)
    plain = list(stream.batches(32, shuffle=shuffle, epoch=1, skip=1))
    indexed = list(stream.batches(32, shuffle=shuffle, epoch=1, skip=1, indexed=True))
    assert [len(batch) for batch in plain] == [2, 2, 2]
    for (x, y), (same, label, index) in zip(plain, indexed, strict=True):
        assert torch.equal(x, same)
        assert torch.equal(y, label)
        assert index.dtype == torch.int64
    places = {}
    for shuffled in (True, False):  # whatever the order, an image has its number
        for x, _, index in stream.batches(32, shuffle=shuffled, indexed=True):
            for place, time in zip(index.tolist(), x[:, 1, 0, 0].tolist(), strict=True):
                assert places.setdefault(place, time) == time
    assert sorted(places) == list(range(100))


def test_epochs_differ_and_pixels_do_not(stream):
    first, second = (numbers(stream.batches(32, shuffle=True, epoch=epoch)) for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


@pytest.mark.parametrize("shuffle", [False, True], ids=["sequence", "shuffled"])
@pytest.mark.parametrize("skip", [0, 1, 3, 7, 18, 19, 40])
def test_skip_gives_the_tail(stream, shuffle, skip):
    whole = list(stream.batches(32, epoch=2, shuffle=shuffle))
    tail = list(stream.batches(32, epoch=2, shuffle=shuffle, skip=skip))
    assert len(tail) == max(0, len(whole) - skip)
    for (x, y), (expected_x, expected_y) in zip(tail, whole[skip:], strict=True):
        assert torch.equal(x, expected_x)
        assert torch.equal(y, expected_y)


def test_skip_reads_only_what_follows(stream, monkeypatch):
    read = []
    images = stream._table.images
    monkeypatch.setattr(stream._table, "images", lambda events: read.append(len(events)) or images(events))
    next(iter(stream.batches(10, skip=59)))
    assert sum(read) <= 12


def test_classes_mix_though_each_file_holds_one(stream):
    for shuffle in (False, True):
        for _, y in list(stream.batches(60, shuffle=shuffle))[:10]:
            assert 15 <= int(y.sum()) <= 45


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("skip", [0, 2])
def test_a_data_loader_gives_each_batch_once(stream, workers, skip):
    expected = [tuple(numbers([batch])) for batch in stream.batches(16, shuffle=True, skip=skip)]
    loader = DataLoader(
        stream.dataset(16, shuffle=True, skip=skip),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )
    found = [tuple(numbers([batch])) for batch in loader]
    assert len(found) == len(expected)
    if workers < 2:
        assert found == expected
    assert set(found) == set(expected)


def test_a_batch_owns_its_memory(stream):
    x, _ = next(iter(stream.batches(4)))
    assert x.untyped_storage().nbytes() == x.numel() * 4
    x.zero_()
    again, _ = next(iter(stream.batches(4)))
    assert again.any()


def test_a_stream_travels_without_its_cache(stream):
    expected = numbers(stream.batches(64, shuffle=True))
    blob = pickle.dumps(stream)
    assert len(blob) < 100_000
    assert numbers(pickle.loads(blob).batches(64, shuffle=True)) == expected


def test_memory_stays_within_the_buffers(two_files, monkeypatch):
    monkeypatch.setattr(stream_module, "BUFFER_BYTES", 64 * 8192)
    reading = data.open(two_files, split="all", cache_bytes=0)
    list(reading.batches(8))  # libraries settle
    tracemalloc.start()
    for _ in reading.batches(8, shuffle=True):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The images are 4.9 MB; a buffer is 64 rows plus at most one block of 128.
    assert peak < 4 * (64 + 128) * 8192 < 602 * 8192 * 1.5


def test_a_cached_split_is_decoded_once(two_files, monkeypatch):
    reading = data.open(two_files, split="train")
    first = numbers(reading.batches(32, shuffle=True))
    monkeypatch.setattr(reading._table, "images", lambda events: pytest.fail("decoded again"))
    assert numbers(reading.batches(32, shuffle=True)) == first
    assert sorted(numbers(reading.batches(32))) == sorted(first)


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"batch_size": 4, "skip": -1}])
def test_bad_arguments_raise_at_once(stream, bad):
    with pytest.raises(UsageError):
        stream.batches(**bad)
    with pytest.raises(UsageError):
        stream.dataset(**bad)


def test_splits_and_limits_of_a_stream(two_files):
    parts = {split: data.open(two_files, split=split, seed=1) for split in ("train", "val", "test")}
    events = {split: set(numbers(part.batches(64))) for split, part in parts.items()}
    assert sum(map(len, events.values())) == len(set().union(*events.values())) == 602
    few = data.open(two_files, split="train", seed=1, limit=20)
    assert few.info.n == 20
    assert few.info.counts == {"photon": 10, "electron": 10}
    assert set(numbers(few.batches(7))) <= events["train"]
    prints = {part.info.fingerprint for part in [*parts.values(), few]}
    assert len(prints) == 4
    assert data.open(two_files, split="val", seed=1).info == parts["val"].info


def test_info_of_detector_images(two_files):
    info = data.open(two_files, split="all").info
    assert info.shape == (2, 32, 32)
    assert info.classes == info.classes_present == ("photon", "electron")
    assert info.unit_gev == (50.0, None)
    assert info.simulated
    assert len(info.fingerprint) == 64


@pytest.mark.parametrize("split", ["train", "val", "test", "all"])
def test_digits(split):
    reading = data.open("digits", split=split)
    x = torch.cat([x for x, _ in reading.batches(100, shuffle=True)])
    assert x.shape == (reading.info.n, 1, 8, 8)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    assert reading.info.value_range == (0.0, 1.0)
    assert reading.info.unit_gev is None
    assert sum(reading.info.counts.values()) == reading.info.n == len(reading)
    assert not reading.info.simulated


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    raw = load_digits()
    x, y = next(iter(data.open("digits", split="all").batches(2000)))
    assert np.array_equal(x[:, 0].numpy(), (raw.images / 16).astype(np.float32))
    assert np.array_equal(y.numpy(), raw.target)
