import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.hub.detection.versions import Reading, read_file, read_text

NUMBERS = st.lists(st.integers(0, 999), min_size=1, max_size=4)


@given(numbers=NUMBERS, before=st.text("abc \n", max_size=20), after=st.text("xyz \n", max_size=20))
@settings(max_examples=50)
def test_a_version_is_read_wherever_it_stands(numbers, before, after):
    version = ".".join(map(str, numbers))
    read = read_text(r"version (?P<version>\d+(?:\.\d+)*)", f"{before}version {version}{after}")
    assert read == Reading(version)


def test_numbers_that_stand_apart_are_joined():
    pattern = r"MAJOR (?P<version>\d+) MINOR (?P<version_minor>\d+)(?: PATCH (?P<version_patch>\d+))?"
    assert read_text(pattern, "MAJOR 3 MINOR 5") == Reading("3.5")
    assert read_text(pattern, "MAJOR 3 MINOR 5 PATCH 0") == Reading("3.5.0")


def test_nothing_is_no_version():
    assert read_text(r"v(?P<version>\d*)", "v") is None
    assert read_text(r"v(?P<version>\d+)", "w") is None


@pytest.mark.parametrize("content", [b"", b"lib 1.2.3", b"\x7fELF\0\0lib 1.2.3\0\xff"])
def test_content_is_read_text_or_binary(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_file(r"lib (?P<version>[\d.]+)", path) == (Reading("1.2.3") if content else None)


def test_the_name_goes_first_and_folders_have_nothing_but_a_name(tmp_path):
    folder = tmp_path / "lib-4.5"
    folder.mkdir()
    (folder / "x").write_text("lib-1.2")
    pattern = r"lib-(?P<version>[\d.]+\d)"
    assert read_file(pattern, folder) == read_file(pattern, folder / "x") == Reading("4.5")
    assert read_file(re.escape("lib-9") + "(?P<version>)", folder) is None
    assert read_file(pattern, tmp_path / "gone") is None


def test_files_of_proc_say_they_are_empty_and_are_read():
    assert read_file(r"^Name:\s+(?P<version>\S+)", __import__("pathlib").Path("/proc/self/status"))
