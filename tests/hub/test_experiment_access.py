"""The same answers by ``hub.access`` as by the functions."""

from __future__ import annotations

import pytest

from holdfast.core.result import Record
from holdfast.hub import store
from holdfast.hub.accessing import access
from holdfast.hub.run_record import Run, new_id, save


@pytest.fixture
def kept(toys):
    record = Record(metric="m", value=1.0, unit="1", direction="none", labels={"a": 1})
    started = "2026-01-01T00:00:00+00:00"
    made = Run(new_id("program:p"), "program:p", "1.0.0", "0", {}, started, records=[record])
    save(made)
    return made


def test_what_was_recorded(kept, tmp_path):
    found = access({"action": "query", "metric": "m", "labels": {"a": 1}})
    (item,) = store.entries(metric="m")
    assert found["records"] == [{"experiment": "p", "run": kept.id, **item.record.to_json()}]
    assert access({"action": "query", "labels": {"a": 2}})["records"] == []
    (run,) = access({"action": "experiments", "since": "2025-12-31"})["runs"]
    assert (run["id"], run["folder"]) == (kept.id, str(kept.folder))
    out = str(tmp_path / "p.csv")
    written = access({"action": "export", "experiment": "p", "to": "csv", "out": out})
    assert (written["return"], written["runs"]) == (0, [kept.id])


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"action": "query", "since": "yesterday"}, 2, "an age such as 7d"),
        ({"action": "query", "metrics": "m"}, 2, "metrics"),
        ({"action": "replay"}, 2, "a run id or a folder"),
        ({"action": "replay", "experiment": "q"}, 3, "unknown experiment"),
        ({"action": "export", "experiment": "p", "to": "csv"}, 2, "where to write"),
    ],
)
def test_mistakes(kept, request_, code, message):
    answer = access(request_)
    assert answer["return"] == code
    assert message in answer["error"]
