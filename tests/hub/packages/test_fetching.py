"""Downloads from a real server that cuts, lies, redirects and sends wrong bytes."""

from __future__ import annotations

import hashlib
import os

import pytest

from holdfast.core.errors import DataError, StorageError, UsageError
from holdfast.hub.packages.fetching import TRIES, download

DATA = os.urandom(1 << 20)
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def target(tmp_path):
    """Where the file is to go."""
    return tmp_path / "downloads/file.bin"


def ranges(server):
    """The ranges that were asked for, in order."""
    return [wanted for _, wanted in server.requests]


def test_a_file_arrives_whole_and_nothing_else_is_left(server, target):
    advanced = []
    assert download([server.add("/a", DATA)], target, sha256=HASH, advance=advanced.append) == HASH
    assert target.read_bytes() == DATA
    assert sum(advanced) == len(DATA)
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_cut_connection_is_resumed_where_it_broke(server, target):
    download([server.add("/a", DATA, "cut", "cut")], target, sha256=HASH)
    assert target.read_bytes() == DATA
    half, more = len(DATA) // 2, len(DATA) // 2 + len(DATA) // 4
    assert ranges(server) == [None, f"bytes={half}-", f"bytes={more}-"]


def test_what_a_killed_download_left_is_resumed(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(DATA[:1000])
    download([server.add("/a", DATA)], target, sha256=HASH)
    assert target.read_bytes() == DATA
    assert ranges(server) == ["bytes=1000-"]


def test_what_was_left_is_not_trusted(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(b"of another file")
    download([server.add("/a", DATA)], target, sha256=HASH)
    assert target.read_bytes() == DATA
    assert ranges(server) == ["bytes=15-", None]


def test_more_than_the_server_has_is_dropped(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(DATA + b"more")
    download([server.add("/a", DATA)], target, sha256=HASH)
    assert target.read_bytes() == DATA


def test_bytes_of_unknown_hash_are_never_appended_to(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(b"of another day")
    assert download([server.add("/a", DATA)], target) == HASH
    assert ranges(server) == [None]


def test_another_range_than_asked_for_is_not_used(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(DATA[:1000])
    download([server.add("/a", DATA, "elsewhere")], target, sha256=HASH)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("faults", [["404"], ["wrong"], ["500"] * TRIES, ["long"] * 99, ["loop"] * 99])
def test_a_mirror_takes_over(server, target, faults):
    first, mirror = server.add("/a", DATA, *faults), server.add("/b", DATA)
    download([first, mirror], target, sha256=HASH)
    assert target.read_bytes() == DATA
    assert server.requests[-1][0] == "/b"


def test_a_redirect_is_followed(server, target):
    download([server.add("/a", DATA, "redirect")], target, sha256=HASH)
    assert [path for path, _ in server.requests] == ["/a", "/a.real"]


def test_wrong_bytes_everywhere_leave_nothing(server, target):
    urls = [server.add("/a", DATA, "wrong"), server.add("/b", DATA, "404")]
    with pytest.raises(DataError, match="cannot download a:") as error:
        download(urls, target, sha256=HASH)
    assert HASH in str(error.value)
    assert "HTTP 404" in str(error.value)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1], ids=["longer", "shorter"])
def test_a_size_that_differs_is_refused_before_the_bytes(server, target, size):
    with pytest.raises(DataError, match=f"{len(DATA)} bytes where {size} were expected"):
        download([server.add("/a", DATA)], target, size=size)


def test_a_server_that_is_not_there(target):
    with pytest.raises(DataError, match="give it by --from"):
        download(["http://127.0.0.1:9/x"], target, sha256=HASH)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "/etc/passwd"])
def test_only_http(target, url):
    with pytest.raises(UsageError, match="http"):
        download([url], target)


def test_a_full_disk_is_a_storage_error_and_no_reason_for_a_mirror(server, target):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    target.parent.mkdir()
    target.with_name("file.bin.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        download([server.add("/a", DATA), server.add("/b", DATA)], target, sha256=HASH)
    assert [path for path, _ in server.requests] == ["/a"]
