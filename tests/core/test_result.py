import json

import jsonschema
import pytest

from holdfast.core.errors import DataError
from holdfast.core.result import (
    VOLATILE,
    ComponentRef,
    Interval,
    Record,
    read_records,
    write_records,
)

BASIC = {"metric": "auc", "value": 0.8, "unit": "1", "direction": "higher"}


def full(**changes):
    values = {
        **BASIC,
        "n": 100,
        "interval": Interval(low=0.7, high=0.9, method="delong"),
        "labels": {"model": "cnn", "batch": 64, "sigma": 0.1, "protected": True},
        "seed": 3,
        "components": {"program:train": ComponentRef(version="0.1.0", hash="ab")},
        "simulated": True,
        "duration_s": 1.5,
    }
    return Record(**{**values, **changes})


def test_json_round_trip_keeps_everything():
    record = full()
    data = json.loads(json.dumps(record.to_json()))
    assert data["schema"] == "holdfast.record/1"
    assert Record.from_json(data) == record
    assert Record.from_json(data).labels["protected"] is True
    assert Record.from_json(data).uid == record.uid


def test_files_round_trip(tmp_path):
    records = [full(), full(value=0.5)]
    write_records(tmp_path / "r.jsonl", records)
    assert read_records(tmp_path / "r.jsonl") == records
    write_records(tmp_path / "r.jsonl", [])
    assert read_records(tmp_path / "r.jsonl") == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["value", "duration_s"])
def test_non_finite_numbers_are_refused(field, bad):
    with pytest.raises(DataError, match=rf"{field}: .*finite"):
        Record.from_json({**BASIC, field: bad})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"metric": ""}, "metric"),
        ({"direction": "up"}, "direction"),
        ({"status": "fine"}, "status"),
        ({"n": -1}, "n: "),
        ({"schema": "holdfast.record/2"}, "schema"),
        ({"interval": {"low": 2.0, "high": 1.0, "method": "x"}}, r"interval low 2\.0 exceeds high 1\.0"),
        (
            {"value": None, "interval": {"low": 0.0, "high": 1.0, "method": "x"}},
            "absent value has no interval",
        ),
        ({"components": {"a": {"version": "1"}}}, r"components\.a\.hash"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_fields_are_named(change, says):
    with pytest.raises(DataError, match=says):
        Record.from_json({**BASIC, **change}, "file.jsonl:3")


def test_missing_fields_and_their_source_are_named():
    with pytest.raises(DataError, match=r"file\.jsonl:3.*unit: Field required"):
        Record.from_json({"metric": "auc", "value": 1, "direction": "higher"}, "file.jsonl:3")


def test_absent_is_not_zero():
    record = Record(metric="energy", value=None, unit="J", direction="lower")
    assert record.to_json()["value"] is None


def test_stable_leaves_out_what_a_repetition_may_change():
    first, second = full(), full(time="2000-01-01T00:00:00+00:00", host="elsewhere", duration_s=9.0)
    assert first.stable() == second.stable()
    assert not set(VOLATILE) & set(first.stable())
    assert full(value=0.81).stable() != first.stable()
    assert full(timed=True, value=0.81, interval=None).stable() == full(timed=True).stable()


def test_records_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        full().value = 1.0


def test_records_match_the_published_schema():
    from importlib.resources import files

    schema = json.loads((files("holdfast") / "schemas" / "record.json").read_text(encoding="utf-8"))
    jsonschema.validate(full().to_json(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**full().to_json(), "colour": "red"}, schema)
