"""The index is nothing but the files."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from holdfast.hub import run, store


@pytest.fixture
def runs(toys):
    """Three runs of two components, one record each."""
    toys.chain()
    return [run("workflow:chain", {"a": 1}), run("workflow:chain", {"a": 2}), run("program:add", {"a": 3})]


def dump(home):
    with closing(sqlite3.connect(home / "index.sqlite")) as database:
        return {table: sorted(database.execute(f"SELECT * FROM {table}")) for table in ("runs", "records")}


def test_queries(runs):
    assert [record.value for record in store.query(metric="sum")] == [3.0, 4.0, 4.0]
    assert [record.labels["a"] for record in store.query(labels={"a": 2})] == [2]
    assert len(store.query(experiment="chain")) == 2
    assert store.query(run=runs[2].id) == runs[2].records
    assert store.query(metric="nothing") == []
    assert [item.run for item in store.entries(metric="sum")] == [item.id for item in runs]


def test_labels_of_another_type_do_not_match(runs):
    assert store.query(labels={"a": True}) == []
    assert store.query(labels={"a": "1"}) == []


def test_rebuilding_equals_adding_step_by_step(toys, tmp_path):
    toys.add()
    for a in range(3):
        run("program:add", {"a": a})
        store.index()
    shutil.rmtree(store.experiments() / "add" / store.entries()[0].run)
    store.index()
    step_by_step = dump(tmp_path / "home")
    assert len(step_by_step["records"]) == 2
    store.rebuild()
    assert dump(tmp_path / "home") == step_by_step


@pytest.mark.parametrize("damage", [b"garbage" * 1000, b"", None], ids=["garbage", "empty", "torn page"])
def test_a_corrupted_index_is_rebuilt(runs, tmp_path, damage):
    before = store.query()
    file = tmp_path / "home/index.sqlite"
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\x00" * (len(content) - 4096) if damage is None else damage)
    assert store.query() == before


def test_an_index_of_other_tables_is_rebuilt(runs, tmp_path):
    with closing(sqlite3.connect(tmp_path / "home/index.sqlite")) as database:
        database.execute("CREATE TABLE runs (x)")
        database.commit()
    assert len(store.query()) == 3


@pytest.mark.parametrize("file", ["run.json", "records.jsonl"])
def test_a_damaged_experiment_is_reported_and_the_rest_is_served(runs, file):
    (runs[0].folder / file).write_text('{"metric": 3}\n')
    problems = store.rebuild()
    assert len(problems) == 1
    assert str(runs[0].folder) in problems[0]
    assert len(store.query()) == 2


def test_half_a_record_at_the_end_is_dropped(runs):
    file = runs[0].folder / "records.jsonl"
    file.write_text(file.read_text() + '{"schema": "holdfast.rec')
    assert store.rebuild() == []
    assert len(store.query()) == 3


def test_no_experiments_at_all(toys):
    assert store.index() == []
    assert store.query() == []
