"""Validation finds every problem and names its file."""

from __future__ import annotations

from pathlib import Path

import pytest

import holdfast
from holdfast.core.errors import UsageError
from holdfast.hub import validate

CLAIM = {"id": "c", "text": "", "source": "", "value": 1, "unit": "", "status": "not run"}


def test_a_good_repository_has_no_problems(toys):
    toys.chain()
    toys.component("paper", "p", claims=[CLAIM | {"workflow": "workflow:chain"}])
    toys.component("experiment", "e", of="workflow:chain", files={"records.jsonl": ""})
    assert validate(toys.root) == []
    assert validate(toys.root / "program/add") == []
    assert validate(toys.root / "program/add/component.json") == []


PROBLEMS = {
    "bad JSON": (lambda toys: (toys.add() / "component.json").write_text("{"), "expected JSON"),
    "unknown key": (lambda toys: toys.add(colour=1), "colour: unknown key"),
    "no such script": (lambda toys: toys.add(entry={"python": "other.py:run"}), "other.py"),
    "no such function": (lambda toys: toys.add(entry={"python": "main.py:go"}), "a function 'go'"),
    "no such module": (lambda toys: toys.add(entry={"python": "no.such.module:run"}), "no.such.module"),
    "input not taken": (lambda toys: toys.add(inputs={"a": {"type": "integer"}}), "expected a, b, got a"),
    "syntax error": (lambda toys: (toys.add() / "main.py").write_text("def ("), "expected Python source"),
    "no such file": (lambda toys: toys.add(entry={"command": ["sh", "{here}/run.sh"]}), "run.sh"),
    "bad wiring": (
        lambda toys: toys.component("workflow", "w", steps=[{"id": "x", "uses": "program:zzz"}]),
        "unknown component",
    ),
    "claim of nothing": (
        lambda toys: toys.component("paper", "p", claims=[CLAIM | {"workflow": "workflow:z"}]),
        "z",
    ),
    "no records": (lambda toys: toys.component("experiment", "e", of="workflow:w"), "records.jsonl"),
    "bad records": (
        lambda toys: toys.component("experiment", "e", of="workflow:w", files={"records.jsonl": "{}\n"}),
        "holdfast.record/1",
    ),
}


@pytest.mark.parametrize(("make", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems_name_the_file(toys, make, message):
    make(toys)
    (problem,) = validate(toys.root)
    assert message in str(problem)
    assert "component.json" in str(problem)


def test_one_uid_for_two_components(toys):
    toys.add(uid="0" * 16)
    toys.double(uid="0" * 16)
    (problem,) = validate(toys.root)
    assert "is also that of program:add" in str(problem)


def test_all_problems_are_listed(toys):
    toys.add(colour=1)
    toys.double(colour=1)
    assert len(validate(toys.root)) == 2


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_nothing_to_check(toys, tmp_path, name):
    with pytest.raises(UsageError, match="a component or a repository"):
        validate(tmp_path / name)


def test_the_built_in_repository_is_valid():
    root = Path(holdfast.__file__).parent / "components"
    if not list(root.glob("*/*/component.json")):
        pytest.skip("no built-in component yet")
    assert [str(problem) for problem in validate(root)] == []
