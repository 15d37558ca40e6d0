"""Archives: what is unpacked, and everything that is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError
from holdfast.hub.packages.archives import form_of, unpack


def tar(path, *members, mode="w:gz"):
    """A tar of (name, content or TarInfo)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def zipped(path, *members):
    """A zip of (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("make", [tar, zipped], ids=["tar", "zip"])
def test_files_come_out_as_they_went_in(tmp_path, make):
    name = f"a.{'zip' if make is zipped else 'tar.gz'}"
    archive = make(tmp_path / name, ("d/one", b"1"), ("d/e/two", b"22" * 9), ("three", b""))
    unpack(archive, tmp_path / "out", form_of(name))
    assert tree(tmp_path / "out") == {"d/one": b"1", "d/e/two": b"22" * 9, "three": b""}


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_other_compressions(tmp_path, mode):
    unpack(tar(tmp_path / "a", ("one", b"1"), mode=mode), tmp_path / "out", "tar")
    assert tree(tmp_path / "out") == {"one": b"1"}


def test_one_gzipped_file(tmp_path):
    (tmp_path / "labels.gz").write_bytes(gzip.compress(b"labels"))
    unpack(tmp_path / "labels.gz", tmp_path / "out", "gz")
    assert tree(tmp_path / "out") == {"labels": b"labels"}


@pytest.mark.parametrize("make", [tar, zipped], ids=["tar", "zip"])
def test_a_choice_of_files(tmp_path, make):
    members = [(f"v/{number}.jpg", b"x") for number in (3, 1, 2)] + [("v/notes", b"n"), ("z.jpg", b"")]
    archive = make(tmp_path / "a", *members)
    unpack(archive, tmp_path / "out", "zip" if make is zipped else "tar", only=["v/*.jpg"], first=2)
    assert sorted(tree(tmp_path / "out")) == ["v/1.jpg", "v/2.jpg"]


def test_executables_stay_so_and_nothing_else_of_the_mode(tmp_path):
    script, plain = tarfile.TarInfo("run"), tarfile.TarInfo("plain")
    script.mode, plain.mode = 0o6711, 0o600
    unpack(tar(tmp_path / "a", ("run", script), ("plain", plain)), tmp_path / "out", "tar")
    assert [(tmp_path / "out" / name).stat().st_mode & 0o7777 for name in ("run", "plain")] == [0o755, 0o644]


OUTSIDE = ["../x", "/tmp/x", "a/../../x", "..", "C:\\x", "a\\..\\..\\x"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("make", [tar, zipped], ids=["tar", "zip"])
def test_members_outside_are_refused(tmp_path, make, name):
    archive = make(tmp_path / "a", ("fine", b"1"), (name, b"2"))
    with pytest.raises(DataError, match="lies outside"):
        unpack(archive, tmp_path / "out/deep", "zip" if make is zipped else "tar")
    assert set(tree(tmp_path)) == {"a", "out/deep/fine"}


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "/etc"),
        special("link", tarfile.SYMTYPE, "fine"),
        special("hard", tarfile.LNKTYPE, "fine"),
        special("null", tarfile.CHRTYPE),
        special("disk", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=["link outside", "link inside", "hard link", "device", "disk", "pipe"],
)
def test_links_and_devices_are_refused(tmp_path, member):
    with pytest.raises(DataError, match=r"link|device"):
        unpack(tar(tmp_path / "a", ("fine", b"1"), member), tmp_path / "out", "tar")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with pytest.raises(DataError, match="link"):
        unpack(zipped(tmp_path / "a", (info, "/etc")), tmp_path / "out", "zip")


@pytest.mark.parametrize("second", ["a", "a/b"], ids=["twice", "below a file"])
def test_a_member_over_another_is_refused(tmp_path, second):
    with pytest.raises(DataError, match="twice"):
        unpack(tar(tmp_path / "x", ("a", b"1"), (second, b"2")), tmp_path / "out", "tar")
    assert tree(tmp_path / "out") == {"a": b"1"}


@pytest.mark.parametrize("form", ["tar", "zip", "gz"])
def test_a_bomb_is_stopped_at_the_limit(tmp_path, form):
    zeros = bytes(5_000_000)
    path = tmp_path / "bomb.gz"
    if form == "gz":
        path.write_bytes(gzip.compress(zeros))
    else:
        (tar if form == "tar" else zipped)(path, ("zeros", zeros))
    with pytest.raises(DataError, match="more than 1000000 bytes"):
        unpack(path, tmp_path / "out", form, limit=1_000_000)
    assert sum(len(data) for data in tree(tmp_path / "out").values()) <= 1_000_000


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    archive = zipped(tmp_path / "a", ("x", bytes(1000)))
    data = archive.read_bytes()
    at = data.rindex(b"PK\x01\x02") + 24
    archive.write_bytes(data[:at] + (10).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(DataError):
        unpack(archive, tmp_path / "out", "zip")


@settings(max_examples=15, deadline=None)
@given(cut=st.floats(0, 0.99), form=st.sampled_from(["tar", "zip", "gz"]))
def test_a_truncated_archive_is_a_data_error(tmp_path_factory, cut, form):
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "a.gz"
    content = bytes(range(256)) * 64
    if form == "gz":
        path.write_bytes(gzip.compress(content))
    else:
        (tar if form == "tar" else zipped)(path, ("a", content), ("b", content))
    data = path.read_bytes()
    path.write_bytes(data[: max(1, int(cut * len(data)))])
    with pytest.raises(DataError):
        unpack(path, folder / "out", form)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.tar.gz", "tar"), ("A.TGZ", "tar"), ("a.zip", "zip"), ("a-ubyte.gz", "gz"), ("a.th", None)],
)
def test_the_form_of_a_name(name, form):
    assert form_of(name) == form
