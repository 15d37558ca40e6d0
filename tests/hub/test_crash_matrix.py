"""kill -9 at every stage of a run: the store is consistent, what was recorded stays, the next run goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import StorageError
from holdfast.core.result import read_records
from holdfast.hub import cache, publish, run, run_record, runner, store, store_index, work
from holdfast.hub import process as processes
from holdfast.hub.hashes import FileHashes

RECORD = '{"metric": "m", "value": 1, "unit": "1", "direction": "none"}'

# (stage, whose attribute, its name, before or after the call, which call; the second step is at work)
STAGES = [
    ("before the first step", runner._Runner, "_steps", "before", 1),
    ("before the lock", cache, "_acquire", "before", 2),
    ("under the lock", cache, "_acquire", "after", 2),
    ("work folder made", cache.Cache, "start", "after", 2),
    ("command made", processes.Call, "command", "after", 2),
    ("in the program", processes, "_watched", "before", 2),
    ("program ended", work, "execute", "after", 2),
    ("records completed", work, "_complete_records", "after", 2),
    ("before the hashes", cache.Cache, "commit", "before", 2),
    ("hashed", cache, "seal", "before", 2),
    ("through to the disk", cache, "seal", "after", 2),
    ("described", cache, "write_json", "after", 2),
    ("kept, not yet told", cache.Cache, "commit", "after", 2),
    ("before the experiment", run_record, "save", "before", 1),
    ("records of the experiment written", run_record, "write_records", "after", 1),
    ("experiment written, not in place", run_record.Run, "write", "after", 1),
    ("experiment in place", run_record, "save", "after", 1),
    ("before publishing", publish, "outputs", "before", 1),
    ("an output published", publish, "_copy_file", "after", 1),
    ("published but for run.json", run_record, "write_json", "before", 2),
]


def in_a_fork(action: Callable[[], object]) -> int:
    """Do ``action`` in a copy of this process; return the signal that ended it, 0 if it ended by itself."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dying(place: Any, name: str, when: str, call: int) -> None:
    """Make the ``call``-th call of ``place.name`` kill this process, before it or after it."""
    original, count = getattr(place, name), 0

    def patched(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == call and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if count == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, patched)


def assert_consistent(home: Path) -> None:
    """Every result is whole, every experiment readable, and the index says what the files say."""
    hashes = FileHashes(home / "hashes.sqlite")
    for folder in home.glob("cache/*/*"):
        assert cache.Cache(home, hashes).read(folder.name) is not None
    hashes.close()
    for folder in home.glob("experiments/*/[!.]*"):
        described = json.loads((folder / "run.json").read_text())
        assert described["status"] == "ok"
        assert len(read_records(folder / "records.jsonl")) == 2
    assert store.index() == []
    updated = store.query()
    assert store.rebuild() == []
    assert [record.to_json() for record in store.query()] == [record.to_json() for record in updated]


@pytest.fixture
def home(toys, tmp_path):
    """A home folder, and ``workflow:two``: two steps, one after the other, with a record each."""
    outputs = {"n": {"type": "file", "path": "n.txt"}}
    inputs = {"source": {"type": "path", "optional": True, "default": None}}
    files = {"count.sh": f"cat $1 /dev/null > n.txt; echo 1 >> n.txt; echo '{RECORD}' > records.jsonl"}
    entry = {"command": ["/bin/sh", "count.sh", "{inputs.source}"]}
    toys.component("program", "count", entry=entry, inputs=inputs, outputs=outputs, files=files)
    steps = [
        {"id": "first", "uses": "program:count"},
        {"id": "second", "uses": "program:count", "with": {"source": {"from": "first.n"}}},
    ]
    toys.component("workflow", "two", steps=steps, outputs={"n.txt": {"from": "second.n"}})
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("place", "name", "when", "call"), [stage[1:] for stage in STAGES], ids=[stage[0] for stage in STAGES]
)
def test_killed_at_a_stage(home, tmp_path, place, name, when, call):
    def dies() -> None:
        dying(place, name, when, call)
        run("workflow:two", out=tmp_path / "out")

    assert in_a_fork(dies) == -signal.SIGKILL
    assert_consistent(home)
    kept = {path.name for path in home.glob("experiments/two/[!.]*")}
    published = tmp_path / "out/n.txt"
    assert not published.exists() or published.read_text() == "1\n1\n"
    finished = run("workflow:two", out=tmp_path / "out")
    assert finished.steps[0].status == ("ran" if name == "_steps" else "hit")
    assert published.read_text() == "1\n1\n"
    assert_consistent(home)
    assert {path.name for path in home.glob("experiments/two/[!.]*")} == {*kept, finished.id}
    assert [step.status for step in run("workflow:two").steps] == ["hit", "hit"]


def test_killed_while_a_result_is_replaced(home):
    run("workflow:two")

    def dies() -> None:
        dying(Path, "rename", "after", 1)
        run("workflow:two", force=True)

    assert in_a_fork(dies) == -signal.SIGKILL
    assert_consistent(home)
    assert [step.status for step in run("workflow:two").steps] == ["ran", "hit"]
    assert_consistent(home)


def test_killed_while_the_index_is_brought_up_to_date(home):
    for _ in range(2):
        run("workflow:two")

    def dies() -> None:
        dying(store_index._Adding, "run", "after", 1)
        store.index()

    assert in_a_fork(dies) == -signal.SIGKILL
    assert len(store.query()) == 4
    assert_consistent(home)


@pytest.mark.parametrize("name", ["write_records", "write_json"])
def test_a_full_disk_while_the_experiment_is_kept(home, monkeypatch, name):
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_record, name, full)
        with pytest.raises(StorageError):
            run("workflow:two")
    assert not list(home.glob("experiments/*/*"))
    assert [step.status for step in run("workflow:two").steps] == ["hit", "hit"]
    assert_consistent(home)


def test_a_clock_that_jumps_forth_and_back(home, monkeypatch):
    ids = []
    for year in (2026, 2090, 1999, 2026):

        class Clock(run_record.datetime):
            @classmethod
            def now(cls, tz: Any = None, year: int = year) -> Any:
                return run_record.datetime(year, 5, 4, tzinfo=tz)

        with monkeypatch.context() as patch:
            patch.setattr(run_record, "datetime", Clock)
            ids.append(run("workflow:two").id)
    assert ids == sorted(ids)
    assert run("workflow:two").steps[0].reasons == [f"nothing changed since run {ids[-1]}"]
    assert_consistent(home)
