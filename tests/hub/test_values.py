"""Input values from text and from JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.errors import UsageError
from holdfast.hub import values
from holdfast.hub.inputs import Input

NUMBER = Input(type="number", minimum=0, maximum=1, unit="GeV")
GOOD = {
    "integer text": (Input(type="integer"), "3", 3),
    "integer in scientific text": (Input(type="integer"), "4e5", 400000),
    "negative integer": (Input(type="integer"), "-3", -3),
    "number text": (Input(type="number"), "1e-3", 0.001),
    "number given": (NUMBER, 1, 1),
    "boolean text": (Input(type="boolean"), "yes", True),
    "boolean given": (Input(type="boolean"), False, False),
    "string of digits stays": (Input(type="string"), "3", "3"),
    "empty string": (Input(type="string"), "", ""),
    "json list": (Input(type="json"), "[1, 2]", [1, 2]),
    "json given": (Input(type="json"), {"a": [1]}, {"a": [1]}),
    "null text": (Input(type="integer", optional=True), "null", None),
    "choice": (Input(type="string", choices=["a", "b"]), "a", "a"),
    "a name as source": (Input(type="source"), "digits", "digits"),
}


@pytest.mark.parametrize(("declared", "given", "value"), GOOD.values(), ids=GOOD)
def test_good_values(declared, given, value):
    found = values.coerce({"x": declared}, {"x": given}, "program:p")["x"]
    assert found == value
    assert type(found) is type(value)


BAD = {
    "word for an integer": (Input(type="integer"), "many", "an integer"),
    "fraction for an integer": (Input(type="integer"), "1.5", "an integer"),
    "boolean for an integer": (Input(type="integer"), True, "an integer"),
    "NaN": (Input(type="number"), "NaN", "finite"),
    "infinity": (Input(type="number"), float("inf"), "finite"),
    "above the range": (NUMBER, "2", "from 0 to 1 (GeV)"),
    "below the range": (NUMBER, "-1", "from 0 to 1 (GeV)"),
    "maybe": (Input(type="boolean"), "maybe", "true or false"),
    "wrong choice": (Input(type="string", choices=["a", "b"]), "c", "one of a, b"),
    "null where required": (Input(type="integer"), None, "an integer"),
    "number for a string": (Input(type="string"), 3, "a string"),
    "broken JSON": (Input(type="json"), "[1,", "JSON"),
    "NaN inside JSON": (Input(type="json"), [float("nan")], "JSON"),
    "missing path": (Input(type="path"), "nowhere", "existing"),
    "one missing path": (Input(type="paths"), "nowhere,here", "existing"),
}


@pytest.mark.parametrize(("declared", "given", "expected"), BAD.values(), ids=BAD)
def test_bad_values_name_input_and_expectation(declared, given, expected):
    with pytest.raises(UsageError) as caught:
        values.coerce({"x": declared}, {"x": given}, "program:p")
    assert expected in str(caught.value)
    assert "program:p input 'x'" in str(caught.value)


def test_unknown_input_lists_the_valid_ones():
    declared = {"events": Input(type="integer"), "seed": Input(type="integer")}
    with pytest.raises(UsageError, match=r"one of events, seed; did you mean 'events'\?"):
        values.coerce(declared, {"event": 3}, "program:p")


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).write_text(name)
    declared = {
        "p": Input(type="path"),
        "ps": Input(type="paths"),
        "s": Input(type="source"),
        "n": Input(type="source"),
    }
    found = values.coerce(declared, {"p": "a", "ps": "a,b", "s": "a,b", "n": "a,digits"}, "w")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert found == {"p": a, "ps": [a, b], "s": f"{a},{b}", "n": "a,digits"}


def test_defaults_complete_and_missing_values_are_named(tmp_path):
    (tmp_path / "data").write_text("x")
    declared = {
        "a": Input(type="integer"),
        "b": Input(type="number", default=0.5),
        "c": Input(type="string", optional=True),
        "d": Input(type="path", default="data"),
    }
    complete = values.complete(declared, {"a": 1}, "program:p", tmp_path)
    assert complete == {"a": 1, "b": 0.5, "c": None, "d": str(tmp_path / "data")}
    with pytest.raises(UsageError, match="a value for a, got none; give --a"):
        values.complete(declared, {}, "program:p", tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", ""], ids=["torn", "list", "empty"])
def test_bad_input_files(tmp_path, text):
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(UsageError, match="a JSON object of input values"):
        values.read_file(tmp_path / "in.json")
