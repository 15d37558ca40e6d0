"""Exports: nothing lost in tables, everything hashed in crates."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from base64 import urlsafe_b64encode

import pytest

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.core.result import Interval, Record
from holdfast.hub import run
from holdfast.hub.exporting import export_experiment
from holdfast.hub.run_record import Run, new_id, save


def keep(component, *records):
    made = Run(
        new_id(component), component, "1.0.0", "0", {}, "2026-01-01T00:00:00+00:00", records=list(records)
    )
    save(made)
    return made


def record(value, **labels):
    interval = None if value is None else Interval(low=value - 1, high=value + 1, method="m")
    return Record(metric="m", value=value, unit="1", direction="none", labels=labels, interval=interval)


@pytest.fixture
def kept(toys):
    first = keep("program:p", record(1.0, a=1, b="x"), record(None, a=2))
    return first, keep("program:p", record(2.5, a=0.5, b=True, c=1))


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_every_record_and_label(kept, tmp_path):
    export_experiment("p", "csv", tmp_path / "all.csv", every_run=True)
    rows = read(tmp_path / "all.csv")
    assert [(row["run"], row["value"], row["low"], row["label.a"], row["label.b"]) for row in rows] == [
        (kept[0].id, "1.0", "0.0", "1", "x"),
        (kept[0].id, "", "", "2", ""),
        (kept[1].id, "2.5", "1.5", "0.5", "True"),
    ]
    assert export_experiment("p", "csv", tmp_path / "newest.csv") == [kept[1].folder]
    assert len(read(tmp_path / "newest.csv")) == 1


def test_parquet_keeps_types(kept, tmp_path):
    from pyarrow import parquet

    export_experiment("p", "parquet", tmp_path / "p.parquet", every_run=True)
    table = parquet.read_table(tmp_path / "p.parquet")
    assert table["value"].to_pylist() == [1.0, None, 2.5]
    assert table["label.a"].to_pylist() == [1.0, 2.0, 0.5]
    assert table["label.b"].to_pylist() == ["x", None, "True"]
    assert table["label.c"].to_pylist() == [None, None, 1]
    assert str(table.schema.field("label.c").type) == "int64"


@pytest.fixture
def crate(toys, tmp_path):
    pytest.importorskip("rocrate")
    toys.chain()
    run("workflow:chain", {"a": 2})
    export_experiment("chain", "ro-crate", tmp_path / "crate")
    loaded = json.loads((tmp_path / "crate/ro-crate-metadata.json").read_text())
    return tmp_path / "crate", {entity["@id"]: entity for entity in loaded["@graph"]}


def refs(value):
    return [item["@id"] for item in (value if isinstance(value, list) else [value])]


def test_a_crate_has_what_the_profile_requires(crate):
    folder, entities = crate
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"]["@id"].startswith("https://w3id.org/ro/crate/1.")
    assert refs(root["conformsTo"]) == ["https://w3id.org/ro/wfrun/process/0.5"]
    assert entities["https://w3id.org/ro/wfrun/process/0.5"]["@type"] == "CreativeWork"
    assert {"name", "description", "datePublished", "hasPart"} <= set(root)
    actions = [entities[name] for name in refs(root["mentions"])]
    assert [action["@id"] for action in actions] == ["#step-add", "#step-double"]
    for action in actions:
        assert action["@type"] == "CreateAction"
        (program,) = refs(action["instrument"])
        assert entities[program]["@type"] == "SoftwareApplication"
        assert {"name", "version"} <= set(entities[program])
        for name in refs(action["object"]) + refs(action["result"]):
            assert name in entities
        assert action["endTime"] >= action["startTime"]
    # What one step made is what the next one took, and every file of the graph has its hash.
    assert set(refs(actions[0]["result"])) & set(refs(actions[1]["object"]))
    files = [entity for entity in entities.values() if entity["@type"] == "File"]
    assert len(files) == 5
    for entity in files:
        assert len(entity["sha256"]) == 64
    data = hashlib.sha256((folder / "records.jsonl").read_bytes())
    assert entities["records.jsonl"]["sha256"] == data.hexdigest()
    name = urlsafe_b64encode(hashlib.sha256(b"4").digest()).decode().rstrip("=")
    assert entities[f"ni:///sha-256;{name}"]["name"] == "sum.txt"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("records.jsonl", "ro-crate-metadata.json"),
        "run.json",
    ]


def test_data_come_along_if_asked_and_a_crate_may_be_a_zip(crate, tmp_path):
    export_experiment("chain", "ro-crate", tmp_path / "crate.zip", copy=True)
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
        parts = {entity["@id"]: entity for entity in graph if entity["@id"].startswith("data/")}
        assert sorted(entity["name"] for entity in parts.values()) == [
            "double.txt",
            "records.jsonl",
            "sum.txt",
        ]
        for name, entity in parts.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == entity["sha256"]


def test_exports_that_make_no_sense(kept, tmp_path):
    with pytest.raises(UnknownNameError, match="experiment"):
        export_experiment("nothing", "csv", tmp_path / "x")
    with pytest.raises(UsageError, match="one of csv, parquet, ro-crate"):
        export_experiment("p", "xls", tmp_path / "x")
    with pytest.raises(UsageError, match="one run"):
        export_experiment("p", "ro-crate", tmp_path / "x", every_run=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(UsageError, match="a new or empty folder"):
        export_experiment("p", "ro-crate", tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "home"]
