import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from holdfast.core import paths
from holdfast.core.errors import StorageError


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writes_create_folders_and_replace(tmp_path):
    path = tmp_path / "a" / "b" / "f.json"
    paths.write_json(path, {"é": 1})
    paths.write_json(path, {"é": 2})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 2\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["f.json"]


def test_files_get_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        paths.write_text(tmp_path / "f", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.write_bytes", "pathlib.Path.replace"])
def test_a_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, where):
    path = tmp_path / "f"
    paths.write_text(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(StorageError, match=r"f: got No space left on device; free space"):
            paths.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_any_other_failure_leaves_nothing_and_passes_through(tmp_path):
    def fail():
        with paths.atomic_path(tmp_path / "f") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


def test_nan_is_refused_before_anything_is_touched(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        paths.write_json(tmp_path / "f", float("nan"))
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file"):
        paths.write_text(tmp_path / "file" / "below", "x")


@pytest.mark.parametrize("moment", ["while writing", "before the rename"])
def test_a_kill_leaves_the_old_file_whole(tmp_path, moment):
    path = tmp_path / "f"
    path.write_text("old")
    script = f"""
        import os, pathlib, signal
        from holdfast.core import paths
        def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
        if {moment!r} == "before the rename":
            pathlib.Path.replace = kill
            paths.write_text(pathlib.Path({str(path)!r}), "new")
        with paths.atomic_path(pathlib.Path({str(path)!r})) as temporary:
            temporary.write_text("ne")
            kill()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_folders_appear_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "t"

    def fail():
        with paths.atomic_folder(target) as staging:
            (staging / "a").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not target.exists()
    with paths.atomic_folder(target) as staging:
        (staging / "a").write_text("2")
        assert not target.exists()
    assert (target / "a").read_text() == "2"
    assert list(target.parent.iterdir()) == [target]


def test_the_first_of_two_folders_stays(tmp_path):
    target = tmp_path / "t"
    with paths.atomic_folder(target) as late:
        (late / "a").write_text("late")
        with paths.atomic_folder(target) as early:
            (early / "a").write_text("early")
    assert (target / "a").read_text() == "early"
    assert list(tmp_path.iterdir()) == [target]


def test_home_and_data_roots_follow_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))
    assert paths.home() == tmp_path.resolve()
    monkeypatch.delenv("HOLDFAST_HOME")
    assert paths.home().name == "holdfast"
    monkeypatch.setenv("HOLDFAST_DATA", os.pathsep.join(["a", "", "~/b"]))
    assert paths.data_roots() == [Path("a"), Path("~/b").expanduser()]
    monkeypatch.delenv("HOLDFAST_DATA")
    assert paths.data_roots() == []
