"""Verbs on what was recorded."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.cli import experiments as verbs
from holdfast.core.errors import UsageError
from holdfast.core.result import Interval, Record
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


def test_query_as_table_json_and_csv(holdfast, kept):
    text = holdfast("query", "--metric", "auc", "--label", "model=vit", "--label", "bits=8").stdout
    assert "[0.8, 0.95]" in text
    assert "cnn" not in text
    (row,) = json.loads(holdfast("query", "--label", "model=vit", "--since", "2025-12-31", "--json").stdout)
    assert (row["run"], row["value"], row["label.bits"]) == (kept.id, 0.9, 8)
    rows = list(csv.DictReader(io.StringIO(holdfast("query", "--newest", "--csv").stdout)))
    assert [each["label.model"] for each in rows] == ["vit", "cnn"]
    nothing = holdfast("query", "--component", "program:q")
    assert (nothing.stdout, nothing.stderr.strip()) == ("", "nothing recorded fits")


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


def test_experiments_are_listed_and_exported(holdfast, kept, tmp_path):
    assert kept.id in holdfast("experiments").stdout
    assert holdfast("experiments", "q").stderr.strip() == "no experiments"
    (row,) = json.loads(holdfast("experiments", "p", "--json").stdout)
    assert (row["records"], row["component"]) == (2, "program:p")
    assert holdfast("export", "experiment", "p", "--to", "csv", "-o", tmp_path / "p.csv").returncode == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 3
