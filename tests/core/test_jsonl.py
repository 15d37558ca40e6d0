import errno
import os

import pytest

from holdfast.core import jsonl
from holdfast.core.errors import DataError, StorageError


def test_lines_come_back_in_order(tmp_path):
    path = tmp_path / "deep" / "f.jsonl"
    with jsonl.Appender(path) as file:
        file.append({"a": 1}, {"b": "é\n"})
        file.append()
        file.append({"c": None})
    assert list(jsonl.read(path)) == [{"a": 1}, {"b": "é\n"}, {"c": None}]


@pytest.mark.parametrize(
    "torn", [b"{", b'{"a": 1}', b'{"a": "\xc3'], ids=["brace", "no newline", "half letter"]
)
def test_a_torn_last_line_is_dropped_and_then_cut(tmp_path, torn):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a": 0}\n' + torn)
    assert list(jsonl.read(path)) == [{"a": 0}]
    with jsonl.Appender(path) as file:
        file.append({"a": 2})
    assert path.read_bytes() == b'{"a": 0}\n{"a": 2}\n'


@pytest.mark.parametrize("keep", range(1, 20, 3), ids=str)
def test_every_cut_leaves_the_whole_lines_before_it(tmp_path, keep):
    path = tmp_path / "f.jsonl"
    data = b'{"a": 1}\n{"a": 2}\n'
    path.write_bytes(data[:keep])
    assert len(list(jsonl.read(path))) == data[:keep].count(b"\n")


@pytest.mark.parametrize("line", [b"x\n", b"[1]\n", b"\n", b"\xff\n"], ids=["text", "list", "empty", "bytes"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'{"a": 2}\n')
    with pytest.raises(DataError, match=r"f\.jsonl:2"):
        list(jsonl.read(path))


def test_an_empty_file_has_no_lines(tmp_path):
    (tmp_path / "f").touch()
    assert list(jsonl.read(tmp_path / "f")) == []
    jsonl.Appender(tmp_path / "f").close()


def test_nan_is_refused_and_nothing_written(tmp_path):
    with jsonl.Appender(tmp_path / "f") as file:
        with pytest.raises(ValueError, match="not JSON compliant"):
            file.append({"a": 1}, {"a": float("nan")})
    assert (tmp_path / "f").read_bytes() == b""


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with jsonl.Appender(tmp_path / "f.jsonl") as file:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"f\.jsonl.*No space left"):
            file.append({"a": 1})
