"""What hangs or crashes is ended, with all that it has started; what answers keeps its process."""

from __future__ import annotations

import os

import psutil
import pytest
from export_support import end, hang

from holdfast.export.apart import Apart, ProcessDiedError


def test_what_hangs_is_ended_and_the_next_call_starts_anew(tmp_path):
    note = tmp_path / "child"
    with Apart(hang) as apart:
        first = apart(None, 60)
        assert first != os.getpid()
        assert apart(None, 60) == first
        with pytest.raises(TimeoutError, match="longer than 2 s"):
            apart(note, 2)
        assert not psutil.pid_exists(first)
        assert _ended(int(note.read_text()))
        last = apart(None, 60)
        assert last != first
    assert not psutil.pid_exists(last)


def test_errors_pass_and_a_crash_is_said():
    with Apart(len) as apart:
        with pytest.raises(TypeError, match="has no len"):
            apart(3, 60)
        assert apart("three", 60) == 5
    with Apart(end) as apart, pytest.raises(ProcessDiedError, match="without an answer"):
        apart(None, 60)


def _ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
