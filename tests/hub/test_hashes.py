"""Remembered hashes equal fresh ones, whatever happens to files and memory."""

from __future__ import annotations

import os

import pytest

from holdfast.core import canonical
from holdfast.hub import hashes as module
from holdfast.hub.hashes import FileHashes


@pytest.fixture
def hashes(tmp_path):
    store = FileHashes(tmp_path / "home/hashes.sqlite")
    yield store
    store.close()


@pytest.fixture
def read(monkeypatch):
    """The files that were really read."""
    paths = []

    def count(path):
        paths.append(path.name)
        return canonical.hash_file(path)

    monkeypatch.setattr(module, "hash_file", count)
    return paths


def old(path):
    os.utime(path, (1e9, 1e9))


def test_a_settled_file_is_read_once_and_again_when_touched(tmp_path, hashes, read):
    file = tmp_path / "f"
    file.write_bytes(b"1")
    old(file)
    for _ in range(3):
        assert hashes.file(file) == canonical.hash_file(file)
    assert read == ["f"]
    file.write_bytes(b"2")
    old(file)  # size, inode and time are the same; the change time is not
    assert hashes.file(file) == canonical.hash_file(file)
    assert read == ["f", "f"]


@pytest.mark.parametrize("seconds", [0, 1e6], ids=["just written", "written in the future"])
def test_a_fresh_file_is_not_trusted(tmp_path, hashes, read, seconds):
    file = tmp_path / "f"
    for content in (b"1", b"2"):
        file.write_bytes(content)
        assert hashes.file(file) == canonical.hash_file(file)
    assert read == ["f", "f"]


def test_folders_equal_the_canonical_hash(tmp_path, hashes):
    folder = tmp_path / "d"
    (folder / "sub/__pycache__").mkdir(parents=True)
    for name in ("b", "a", "sub/c", "sub/__pycache__/x.pyc"):
        (folder / name).write_text(name)
    assert hashes.path(folder) == canonical.hash_path(folder)
    assert hashes.path(tmp_path / "d/a") == canonical.hash_path(tmp_path / "d/a")


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b""], ids=["garbage", "empty"])
def test_a_damaged_memory_is_dropped(tmp_path, damage):
    (tmp_path / "f").write_text("x")
    (tmp_path / "hashes.sqlite").write_bytes(damage)
    store = FileHashes(tmp_path / "hashes.sqlite")
    assert store.file(tmp_path / "f") == canonical.hash_file(tmp_path / "f")
    store.close()


def test_a_memory_damaged_while_in_use_is_dropped(tmp_path, hashes):
    (tmp_path / "f").write_text("x")
    old(tmp_path / "f")
    hashes.file(tmp_path / "f")
    hashes._database.execute("DROP TABLE hashes")
    assert hashes.file(tmp_path / "f") == canonical.hash_file(tmp_path / "f")


def test_without_a_place_for_the_memory_hashes_are_still_right(tmp_path):
    (tmp_path / "file").write_text("x")
    store = FileHashes(tmp_path / "file" / "hashes.sqlite")
    assert store.file(tmp_path / "file") == canonical.hash_file(tmp_path / "file")
    store.close()
