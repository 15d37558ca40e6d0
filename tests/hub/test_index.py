"""The index: never stale, made anew when damaged, and not needed at all."""

import json
import os
import sqlite3
import time

import pytest

from holdfast.core.errors import UnknownNameError
from holdfast.hub import find, index, search
from holdfast.hub.index import listing


def names(text="", **options):
    return [
        item.name for item in listing(text, kind="program", **options) if item.repository.name == "project"
    ]


def edit(folder, **fields):
    """Change a description in place, its size and times of modification as they were."""
    file = folder / "component.json"
    state = file.stat()
    text = json.dumps(json.loads(file.read_text()) | fields)
    assert len(text) == state.st_size
    with file.open("r+") as handle:
        handle.write(text)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_an_edit_by_hand_is_seen_at_once(toys, monkeypatch):
    folder = toys.add(title="Aaaa")
    monkeypatch.setattr(index, "_SETTLED_NS", -(10**18))  # as if the files had lain there for long
    assert names("aaaa") == ["add"]
    time.sleep(0.02)  # the file system's clock ticks every few milliseconds
    edit(folder, title="Bbbb")
    assert names("aaaa") == []
    assert names("bbbb") == ["add"]


def test_a_file_that_has_just_changed_is_read_every_time(toys):
    folder = toys.add(title="Aaaa")
    assert names("aaaa") == ["add"]
    edit(folder, title="Bbbb")
    assert names("bbbb") == ["add"]


def test_what_appears_and_what_goes(toys):
    toys.add()
    assert names() == ["add"]
    double = toys.double()
    assert names() == ["add", "double"]
    (double / "component.json").unlink()
    assert names() == ["add"]


def test_the_same_as_from_the_files(toys):
    toys.chain()
    toys.add(folder="add@2.0.0", version="2.0.0", tags=["maths"])
    found = [item.load() for item in listing("a")]
    assert [c.folder for c in found] == [c.folder for c in search("a")]
    assert [c.version.major for c in search("add", tags=["maths"])] == [2]
    assert [item.id for item in listing(uid=find("program:add@1.0.0").uid)] == ["program:add"] * 2


@pytest.mark.parametrize("damage", [b"no database", b"", b"SQLite format 3\x00" + bytes(200)])
def test_a_damaged_index_is_made_anew(toys, damage):
    toys.add()
    assert names() == ["add"]
    index.path().write_bytes(damage)
    assert names() == ["add"]
    assert index.rebuild() > 1


def test_an_index_of_another_version(toys):
    toys.add()
    index.rebuild()
    with sqlite3.connect(index.path()) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    assert names() == ["add"]


def test_where_no_index_can_be_written(toys, monkeypatch, tmp_path):
    toys.add()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(index, "path", lambda: tmp_path / "file" / "components.sqlite")
    assert names() == ["add"]


def test_broken_descriptions_are_listed_apart(toys):
    double = toys.double()
    (double / "component.json").write_text("{")
    toys.add()
    assert names() == ["add"]
    assert index.unreadable() == [double]


def test_a_renamed_folder(toys, monkeypatch):
    folder = toys.add()
    monkeypatch.setattr(index, "_SETTLED_NS", -(10**18))
    assert names() == ["add"]
    folder.rename(folder.with_name("add@1.0.0"))
    assert [item.folder.name for item in listing("program:add")] == ["add@1.0.0"]


def test_an_unknown_kind(toys):
    with pytest.raises(UnknownNameError, match="did you mean 'program'"):
        listing(kind="progam")
