"""The index is nothing but the files."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest

from holdfast.core.errors import UsageError
from holdfast.core.result import ComponentRef, Record
from holdfast.hub import store, store_index
from holdfast.hub.run_record import Run, experiments, new_id, save


@pytest.fixture
def runs(toys):
    """Three kept runs of two components, one record each, as the runner would leave them."""
    kept = []
    for component, a, value in (("workflow:chain", 1, 3), ("workflow:chain", 2, 4), ("program:add", 3, 4)):
        names = {"program:add", component}
        record = Record(
            metric="sum",
            value=value,
            unit="1",
            direction="higher",
            labels={"a": a},
            components={name: ComponentRef(version="1.0.0", hash="0") for name in sorted(names)},
        )
        started = datetime.now(UTC).isoformat(timespec="seconds")
        made = Run(new_id(component), component, "1.0.0", "0", {"a": a}, started, records=[record])
        save(made)
        kept.append(made)
    return kept


def dump(home):
    """What the index says, by names: its numbers depend on the order in which it was made."""
    with closing(sqlite3.connect(home / "index.sqlite")) as database:
        names = dict(database.execute("SELECT number, name || '=' || value FROM labels"))
        rows = database.execute(
            "SELECT id, records.number, metrics.name, records.status, start, records.labels"
            " FROM records JOIN runs ON runs.number = run JOIN metrics ON metrics.number = metric"
        )
        records = [(*row[:-1], sorted(names[int(number)] for number in row[-1].split())) for row in rows]
        runs = database.execute("SELECT id, experiment, component, records, size, folder FROM runs")
        return {"runs": sorted(runs), "records": sorted(records)}


def test_queries(runs):
    assert [record.value for record in store.query(metric="sum")] == [3.0, 4.0, 4.0]
    assert [record.labels["a"] for record in store.query(labels={"a": 2})] == [2]
    assert len(store.query(experiment="chain")) == 2
    assert store.query(run=runs[2].id) == runs[2].records
    assert store.query(metric="nothing") == []
    assert [item.run for item in store.entries(metric="sum")] == [item.id for item in runs]


def test_conditions_on_runs_and_records(runs):
    newest = store.entries(newest=True)
    assert [item.run for item in newest] == [runs[1].id, runs[2].id]
    assert [item.run for item in store.entries(newest=True, labels={"a": 1})] == [runs[0].id]
    assert len(store.query(component="program:add")) == 3
    assert len(store.query(component="workflow:chain", labels={"a": [1, 3, "x"]})) == 1
    assert store.query(component="program:ad") == store.query(status="failed") == []
    assert len(store.query(since="1h")) == len(store.query(since=runs[0].started)) == 3
    assert store.query(since="2999-01-01") == store.query(labels={"zzz": 1}) == []
    assert [item.id for item in store.runs(labels={"a": 2})] == [runs[1].id]
    kept = store.runs()[0]
    assert (kept.id, kept.component, kept.records, kept.folder) == (
        *(runs[0].id, "workflow:chain", 1),
        runs[0].folder,
    )


def test_questions_that_make_no_sense(runs):
    with pytest.raises(UsageError, match="conditions of metric"):
        store.query(metrics="sum")
    with pytest.raises(UsageError, match="an age such as 7d"):
        store.query(since="yesterday")


def test_a_table(runs):
    pytest.importorskip("pandas")
    table = store.frame(metric="sum")
    assert list(table["value"]) == [3.0, 4.0, 4.0]
    assert list(table["label.a"]) == [1, 2, 3]
    assert set(store.FIELDS) < set(table.columns)
    assert len(store.frame(metric="nothing")) == 0


def test_a_run_whose_records_were_replaced_is_read_anew(runs):
    assert len(store.query(metric="sum")) == 3
    file = runs[0].folder / "records.jsonl"
    file.write_text(file.read_text().replace('"sum"', '"product"'))
    assert len(store.query(metric="sum")) == 2
    assert [record.value for record in store.query(metric="product")] == [3.0]


def test_a_settled_folder_is_not_looked_into_again_until_it_changes(runs, monkeypatch):
    monkeypatch.setattr(store_index, "_SETTLED_NS", -(10**12))
    store.rebuild()
    looked = []
    update = store_index._update_folder
    monkeypatch.setattr(
        store_index, "_update_folder", lambda *given: looked.append(given[1].name) or update(*given)
    )
    assert len(store.query()) == 3
    assert looked == []
    shutil.copytree(runs[2].folder, moved := runs[2].folder.with_name(new_id("program:add")))
    file = moved / "run.json"
    file.write_text(file.read_text().replace(runs[2].id, moved.name))
    assert len(store.query()) == 4
    shutil.rmtree(experiments() / "chain")
    assert len(store.query()) == 2
    assert set(looked) == {"add"}


def test_a_home_that_moved_is_indexed_anew(runs, tmp_path, monkeypatch):
    assert len(store.query()) == 3
    (tmp_path / "home").rename(tmp_path / "a-home")
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "a-home"))
    assert len(store.query()) == 3


def test_labels_of_another_type_do_not_match(runs):
    assert store.query(labels={"a": True}) == []
    assert store.query(labels={"a": "1"}) == []


def test_rebuilding_equals_adding_step_by_step(runs, tmp_path):
    later = [(each, each.folder.rename(tmp_path / each.id)) for each in runs]
    for each, away in later:
        away.rename(each.folder)
        store.index()
    shutil.rmtree(runs[0].folder)
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


KILLED = """
import os, signal
from holdfast.hub import store, store_index

add, count = store_index._Adding.run, []

def run(self, folder):
    count.append(folder)
    add(self, folder)
    if len(count) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

store_index._Adding.run = run
store.query()
"""


def test_an_indexing_that_is_killed_leaves_nothing_half_visible(runs):
    done = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert done.returncode == -9
    assert [item.run for item in store.entries()] == [each.id for each in runs]


@pytest.mark.slow
def test_processes_that_ask_at_the_same_time_all_get_the_same(runs):
    code = "from holdfast.hub import store; print(len(store.query()))"
    asking = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    assert [each.communicate()[0] for each in asking] == [b"3\n"] * 4
    with closing(sqlite3.connect(store_index._path())) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (3,)
