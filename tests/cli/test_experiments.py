"""Verbs on what was recorded."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from holdfast.cli import experiments as verbs
from holdfast.core.errors import UsageError
from holdfast.core.result import Interval, Record
from holdfast.hub.equivalence import Compared
from holdfast.hub.replaying import Difference, Replay
from holdfast.hub.run_record import Run, new_id, save


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    interval = Interval(low=0.8, high=0.95, method="m")
    labels = [{"model": "vit", "bits": 8}, {"model": "cnn", "bits": 8}]
    records = [
        Record(metric="auc", value=0.9, unit="1", direction="higher", labels=each, interval=interval)
        for each in labels
    ]
    made = Run(
        new_id("program:p"), "program:p", "1.0.0", "0", {}, "2026-01-01T00:00:00+00:00", records=records
    )
    save(made)
    return made


def test_query_as_table_json_and_csv(kept, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    verbs.query(metric="auc", label=["model=vit", "bits=8"])
    text = capsys.readouterr().out
    assert "[0.8, 0.95]" in text
    assert "cnn" not in text
    verbs.query(label=["model=vit"], since="2025-12-31", json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run"], row["value"], row["label.bits"]) == (kept.id, 0.9, 8)
    verbs.query(newest=True, as_csv=True)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [each["label.model"] for each in rows] == ["vit", "cnn"]
    verbs.query(component="program:q")
    assert capsys.readouterr() == ("", "nothing recorded fits\n")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: verbs.query(label=["model"]), "NAME=VALUE"),
        (lambda: verbs.query(as_csv=True, json=True), "one of --csv and --json"),
        (lambda: verbs.query(since="yesterday"), "an age such as 7d"),
        (lambda: verbs.replay(SimpleNamespace(args=[]), "p", margin=["auc"]), "METRIC=NUMBER"),
        (lambda: verbs.export_experiment("p", "xls", Path("x")), "csv, parquet, ro-crate"),
    ],
    ids=["label", "formats", "since", "margin", "export"],
)
def test_mistakes(kept, call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_experiments_are_listed_and_exported(holdfast, kept, tmp_path, capsys):
    assert kept.id in holdfast("experiments").stdout
    verbs.experiments("q")
    assert capsys.readouterr() == ("", "no experiments\n")
    verbs.experiments("p", json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["records"], row["component"]) == (2, "program:p")
    assert holdfast("export", "experiment", "p", "--to", "csv", "-o", tmp_path / "p.csv").returncode == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 3


def test_a_replay_is_printed(kept, capsys, monkeypatch):
    row = Compared(
        "auc", {"model": "vit"}, "1", False, 0.9, 0.8, -0.1, None, None, "equal", "not reproduced", "x"
    )
    differs = [Difference("software", "numpy 1 -> 2")]
    answer = Replay(kept.id, "program:p", "r", "not reproduced", [row], differs, [], folder=kept.folder)
    asked = {}
    monkeypatch.setattr("holdfast.hub.replaying.replay", lambda name, **more: asked.update(more) or answer)
    with pytest.raises(typer.Exit) as ended:
        verbs.replay(SimpleNamespace(args=["--data", "x"]), "p", margin=["auc=5%"])
    assert ended.value.exit_code == 1
    assert (asked["margins"], asked["inputs"]) == ({"auc": "5%"}, {"data": "x"})
    text = capsys.readouterr().out
    assert "differs: software: numpy 1 -> 2" in text
    assert f"not reproduced: program:p, run {kept.id}" in text
