import os
import sys

import pytest
from detection_support import says, script

from holdfast.hub.detection.places import binaries, files, folders, path_folders


def test_relative_and_missing_folders_of_path_are_left_out(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    assert path_folders({"PATH": f":bin:.:{tmp_path}/bin:{tmp_path}/none"}) == [tmp_path / "bin"]
    assert path_folders({}) == []


def test_one_folder_of_two_names_is_looked_through_once(tmp_path):
    (tmp_path / "usr-bin").mkdir()
    (tmp_path / "bin").symlink_to("usr-bin")
    assert path_folders({"PATH": f"{tmp_path}/bin:{tmp_path}/usr-bin"}) == [tmp_path / "bin"]


def test_entries_are_globs_variables_lists_homes_and_the_prefix(tmp_path, monkeypatch):
    for name in ("a-1", "a-2", "b", "c"):
        (tmp_path / name / "bin").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = {"LIST": f"{tmp_path}/b:{tmp_path}/c", "TOP": str(tmp_path), "NAME": "b"}
    cases = {
        f"{tmp_path}/a-*/bin": ["a-1/bin", "a-2/bin"],
        "$LIST/bin": ["b/bin", "c/bin"],
        "${TOP}/$NAME": ["b"],
        "$UNSET/bin": [],
        "$TOP/$UNSET": [],
        "~/c": ["c"],
        "a-1": [],
    }
    for entry, expected in cases.items():
        assert folders([entry], environment) == [tmp_path / name for name in expected], entry
    assert [str(folder) for folder in folders(["{prefix}"])] == [sys.prefix]


def test_names_and_globs_of_executable_files_count_links_once(tmp_path):
    says(tmp_path / "x86_64-gcc-12", "")
    (tmp_path / "gcc").symlink_to("gcc-12")
    (tmp_path / "gcc-12").symlink_to("x86_64-gcc-12")
    says(tmp_path / "gcc-9", "9")
    (tmp_path / "gcc-8").write_text("not executable")
    (tmp_path / "gcc-7").mkdir()
    says(tmp_path / "gcc-ar", "")
    (tmp_path / "gcc-5").symlink_to("nowhere")
    # They are scripts, so each name is asked; which of them are one shows in their answers.
    found = binaries(["gcc", "gcc-[0-9]", "gcc-[0-9][0-9]"], [tmp_path])
    assert [item.path.name for item in found] == ["gcc", "gcc-12", "gcc-9"]
    assert all(item.proxy for item in found)


def test_links_to_one_binary_are_one_candidate(tmp_path):
    (tmp_path / "gcc-12").write_bytes(b"\x7fELF")
    (tmp_path / "gcc-12").chmod(0o755)
    (tmp_path / "gcc").symlink_to("gcc-12")
    (found,) = binaries(["gcc", "gcc-[0-9]*"], [tmp_path])
    assert (found.path, found.real, found.also) == (
        tmp_path / "gcc",
        tmp_path / "gcc-12",
        [str(tmp_path / "gcc-12")],
    )
    assert not found.proxy


def test_one_program_of_many_names_is_asked_by_each(tmp_path):
    (tmp_path / "rustup").write_bytes(b"\x7fELF")
    (tmp_path / "rustup").chmod(0o755)
    (tmp_path / "rustc").symlink_to("rustup")
    (found,) = binaries(["rustc"], [tmp_path])
    assert found.proxy


def test_a_plain_wrapper_stands_for_what_it_starts(tmp_path):
    real = tmp_path / "cuda" / "nvcc"
    real.parent.mkdir()
    real.write_bytes(b"\x7fELF")
    real.chmod(0o755)
    script(tmp_path / "nvcc", f'exec {real} "$@"')
    found = binaries(["nvcc"], [tmp_path, real.parent])
    assert [(item.path, item.real, item.proxy) for item in found] == [(tmp_path / "nvcc", real, False)]


def test_wrappers_in_a_circle_are_scripts(tmp_path):
    script(tmp_path / "a", f'exec {tmp_path}/b "$@"')
    script(tmp_path / "b", f'exec {tmp_path}/a "$@"')
    (found,) = binaries(["a"], [tmp_path])
    assert found.proxy


def test_an_environment_s_python_is_not_the_one_it_links_to(tmp_path):
    for folder in ("base/bin", "venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "base/bin/python3").write_bytes(b"\x7fELF")
    (tmp_path / "base/bin/python3").chmod(0o755)
    (tmp_path / "venv/bin/python3").symlink_to(tmp_path / "base/bin/python3")
    where = [tmp_path / "base/bin", tmp_path / "venv/bin"]
    assert len(binaries(["python3"], where)) == 1
    (tmp_path / "venv/pyvenv.cfg").touch()
    assert len(binaries(["python3"], where)) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_no_error(tmp_path):
    (tmp_path / "secret").mkdir(mode=0)
    assert binaries(["gcc-*"], [tmp_path / "secret"]) == []


def test_files_come_in_the_order_of_their_patterns(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "include").mkdir()
    (tmp_path / "lib/libx.so.1.2").touch()
    (tmp_path / "lib/libx.so").symlink_to("libx.so.1.2")
    (tmp_path / "include/x.h").touch()
    found = files(["include/*.h", "lib/libx.so*", "none/*"], [tmp_path])
    assert [item.path.name for item in found] == ["x.h", "libx.so"]
    assert found[1].also == [str(tmp_path / "lib/libx.so.1.2")]
