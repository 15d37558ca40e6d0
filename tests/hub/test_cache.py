"""Entries are whole or absent; one runner at a time."""

from __future__ import annotations

import json

import pytest

from holdfast.hub.cache import Cache
from holdfast.hub.hashes import FileHashes

KEY = "ab" * 32


@pytest.fixture
def cache(tmp_path):
    hashes = FileHashes(tmp_path / "hashes.sqlite")
    yield Cache(tmp_path, hashes)
    hashes.close()


@pytest.fixture
def entry(cache):
    """A committed entry with a file and a folder."""
    work = cache.start(KEY, keep=False)
    (work / "outputs/f.txt").write_text("f")
    (work / "outputs/d").mkdir()
    (work / "outputs/d/g.txt").write_text("g")
    (work / "outputs/records.jsonl").write_text("{}")
    outputs = {"f": {"path": "f.txt"}, "d": {"path": "d"}}
    return cache.commit(KEY, {"outputs": outputs, "records": [{"path": "records.jsonl"}]})


def test_what_is_committed_is_found(cache, entry):
    assert cache.lookup(KEY) == entry
    assert entry.paths()["f"].read_text() == "f"
    assert entry.folder == cache.folder(KEY)
    assert not cache.work(KEY).exists()
    assert cache.lookup("cd" * 32) is None


DAMAGES = {
    "no meta": lambda folder: (folder / "meta.json").unlink(),
    "torn meta": lambda folder: (folder / "meta.json").write_text('{"key": "'),
    "meta is a list": lambda folder: (folder / "meta.json").write_text("[]"),
    "meta of another key": lambda folder: (folder / "meta.json").write_text(
        json.dumps({"key": "x", "outputs": {}})
    ),
    "output gone": lambda folder: (folder / "outputs/f.txt").unlink(),
    "output changed": lambda folder: overwrite(folder / "outputs/f.txt", "F"),
    "file in a folder changed": lambda folder: overwrite(folder / "outputs/d/g.txt", "G"),
    "records changed": lambda folder: overwrite(folder / "outputs/records.jsonl", "[]"),
    "file added to a folder": lambda folder: (folder / "outputs/d/new.txt").touch(),
}


def overwrite(path, text):
    path.chmod(0o644)
    path.write_text(text)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_moved_aside(cache, entry, tmp_path, damage):
    damage(entry.folder)
    assert cache.read(KEY) is None
    assert cache.folder(KEY).exists()
    assert cache.lookup(KEY) is None
    assert not cache.folder(KEY).exists()
    assert len(list((tmp_path / "corrupt").iterdir())) == 1


def test_outputs_are_read_only(entry):
    assert (entry.outputs / "f.txt").stat().st_mode & 0o222 == 0


def test_work_is_kept_or_emptied(cache):
    (cache.start(KEY, keep=True) / "outputs/half").touch()
    assert (cache.start(KEY, keep=True) / "outputs/half").exists()
    assert not (cache.start(KEY, keep=False) / "outputs/half").exists()


def test_a_commit_replaces_an_older_entry(cache, entry):
    work = cache.start(KEY, keep=False)
    (work / "outputs/f.txt").write_text("new")
    cache.commit(KEY, {"outputs": {"f": {"path": "f.txt"}}, "records": []})
    assert cache.lookup(KEY).paths()["f"].read_text() == "new"


def test_the_lock_is_free_again_and_leaves_no_file(cache, tmp_path):
    for _ in range(2):
        with cache.lock(KEY, lambda: pytest.fail("nobody else holds it")):
            assert (tmp_path / "locks" / KEY).exists()
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_held_lock_is_waited_for(cache):
    from threading import Thread

    order = []

    def second():
        with cache.lock(KEY, lambda: order.append("waits")):
            order.append("second")

    with cache.lock(KEY, lambda: None):
        thread = Thread(target=second)
        thread.start()
        while not order:
            pass
        order.append("first done")
    thread.join()
    assert order == ["waits", "first done", "second"]
