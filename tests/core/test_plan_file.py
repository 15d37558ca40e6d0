"""Files of plans: what is written comes back, and nothing else is taken."""

import json

import pytest

from holdfast.core import plan_file
from holdfast.core.errors import DataError

SCHEMA = "holdfast.test_plan/1"


def layer(entry):
    if set(entry) != {"name", "tile"}:
        raise ValueError(f"layer {entry!r}")
    return entry["name"], entry["tile"]


def test_what_is_written_comes_back(tmp_path):
    path = tmp_path / "plan.json"
    plans = [({"batch": 1}, [{"name": "a", "tile": 4}]), ({"batch": 2}, [])]
    plan_file.save(path, SCHEMA, plans)
    assert plan_file.load(path, SCHEMA, layer) == [({"batch": 1}, (("a", 4),)), ({"batch": 2}, ())]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        json.dumps({"schema": "another/1", "plans": []}),
        json.dumps({"schema": SCHEMA}),
        json.dumps({"schema": SCHEMA, "plans": [{"layers": []}]}),
        json.dumps({"schema": SCHEMA, "plans": [{"key": {}, "layers": [{"name": "a"}]}]}),
        json.dumps({"schema": SCHEMA, "plans": [{"key": {}, "layers": [3]}]}),
    ],
)
def test_anything_else_is_refused(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(DataError, match="remove the file"):
        plan_file.load(path, SCHEMA, layer)


def test_a_folder_is_no_plan(tmp_path):
    with pytest.raises(DataError, match="a readable file"):
        plan_file.load(tmp_path, SCHEMA, layer)
