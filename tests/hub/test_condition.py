"""Conditions: every test, every combination, and those on what was measured."""

from __future__ import annotations

import pytest

from holdfast.core.errors import ComponentError
from holdfast.hub import explain, find, run
from holdfast.hub.kinds import When
from holdfast.hub.workflow import load

ONE, TWO = {"input": "x", "equals": 1}, {"input": "x", "equals": 2}
CASES = {
    "equal": (ONE, [1], None),
    "unequal": (ONE, [2], "x is not 1"),
    "true is not one": (ONE, [True], "x is not 1"),
    "one of": ({"input": "x", "one_of": [1, 2]}, [2], None),
    "none of": ({"input": "x", "one_of": [1, 2]}, [3], "x is not one of 1, 2"),
    "enough": ({"input": "x", "at_least": 3}, [3], None),
    "too little": ({"input": "x", "at_least": 3}, [2.5], "x is not at least 3"),
    "little enough": ({"input": "x", "at_most": 0}, [-1], None),
    "too much": ({"input": "x", "at_most": 0}, [1], "x is not at most 0"),
    "null is no number": ({"input": "x", "at_most": 3}, [None], "x is not at most 3"),
    "given": ({"input": "x", "given": True}, [0], None),
    "not given": ({"input": "x", "given": True}, [None], "x is not given"),
    "all": ({"all": [ONE, {"input": "x", "at_most": 5}]}, [1], None),
    "not all": ({"all": [{"input": "x", "at_most": 5}, ONE]}, [2], "x is not 1"),
    "any": ({"any": [ONE, TWO]}, [2], None),
    "not any": ({"any": [ONE, TWO]}, [3], "x is not 1 and x is not 2"),
    "not": ({"not": ONE}, [2], None),
    "not not": ({"not": ONE}, [1], "not wanted: x is 1"),
    "every record": ({"metric": "s.m", "at_least": 2}, [2, 3], None),
    "but one record": ({"metric": "s.m", "at_least": 2}, [2, 1], "s.m is not at least 2"),
    "no record": ({"metric": "s.m", "at_least": 2}, [], "s.m was not measured"),
}


@pytest.mark.parametrize(("condition", "values", "why"), CASES.values(), ids=CASES)
def test_conditions(condition, values, why):
    assert When.model_validate(condition).unmet(lambda _: values) == why


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"equals": 1}, "exactly one of 'input', 'matrix' and 'metric'"),
        ({"input": "x", "matrix": "y", "equals": 1}, "exactly one of 'input', 'matrix' and 'metric'"),
        ({"input": "x"}, "exactly one of 'equals'"),
        ({"input": "x", "at_least": 1, "at_most": 2}, "exactly one of 'equals'"),
        ({"matrix": "x", "given": True}, "asked of an input"),
        ({"input": "x", "equals": 1, "labels": {"a": 1}}, "belong to a metric"),
        ({"all": [ONE], "any": [ONE]}, "nothing beside"),
        ({"all": [ONE], "input": "x"}, "nothing beside"),
        ({"all": []}, "at least 1 item"),
        ({"metric": "accuracy", "at_least": 1}, "match pattern"),
        ({"input": "x", "eval": "1 + 1"}, "not permitted"),
    ],
)
def test_bad_conditions(condition, message):
    with pytest.raises(ValueError, match=message):
        When.model_validate(condition)


def judged(when, **more):
    return {"id": "again", "uses": "program:add", "with": {"a": 5}, "when": when, **more}


FIRST = {"id": "add", "uses": "program:add", "with": {"a": {"from": "inputs.a"}}}
INPUTS = {"a": {"type": "integer", "default": 1}, "word": {"type": "string", "default": "x"}}


@pytest.mark.parametrize(
    ("when", "status"),
    [
        ({"metric": "add.sum", "at_least": 2}, "ran"),
        ({"metric": "add.sum", "at_least": 3}, "skipped"),
        ({"metric": "add.sum", "labels": {"a": 9}, "at_least": 2}, "skipped"),
        ({"any": [{"input": "word", "equals": "y"}, {"metric": "add.sum", "equals": 2}]}, "ran"),
    ],
)
def test_a_step_may_depend_on_what_another_has_measured(toys, statuses, when, status):
    toys.shell()
    toys.component("workflow", "w", steps=[judged(when), FIRST], inputs=INPUTS)
    (_, forecast) = explain("workflow:w")
    assert (forecast.now, forecast.why) == ("miss", ["will run or be skipped once step add has run"])
    assert statuses(run("workflow:w")) == {"add": "ran", "again": status}
    (_, forecast) = explain("workflow:w")
    assert forecast.now == {"ran": "hit", "skipped": "skipped"}[status]


def test_an_axis_may_decide(toys, statuses):
    toys.shell()
    step = FIRST | {"with": {"a": {"from": "matrix.a"}}, "matrix": {"axes": {"a": [1, 2]}}}
    toys.component("workflow", "w", steps=[step | {"when": {"matrix": "a", "equals": 2}}])
    assert statuses(run("workflow:w")) == {"add[a=1]": "skipped", "add[a=2]": "ran"}


def test_what_is_required_may_come_from_a_step_whose_condition_is_implied(toys):
    toys.shell()
    wanted = {"input": "word", "equals": "x"}
    double = {"id": "double", "uses": "program:double", "with": {"source": {"from": "add.sum"}}}
    both = double | {"when": {"all": [wanted, {"input": "a", "at_least": 1}]}}
    toys.component("workflow", "w", steps=[FIRST | {"when": wanted}, both], inputs=INPUTS)
    assert len(load(find("workflow:w")).steps) == 2
    either = double | {"when": {"any": [wanted, {"input": "a", "at_least": 1}]}}
    toys.component("workflow", "w", steps=[FIRST | {"when": wanted}, either], inputs=INPUTS)
    with pytest.raises(ComponentError, match="may be null"):
        load(find("workflow:w"))


BAD = {
    "itself": ({"metric": "again.sum", "at_least": 1}, "a metric of a step, one of add"),
    "no such step": ({"metric": "zzz.sum", "at_least": 1}, "got 'zzz.sum'"),
    "no number": ({"input": "word", "at_least": 1}, "expected a number, got word"),
    "one of the wrong type": ({"input": "a", "one_of": [1, "x"]}, "expected an integer, got 'x'"),
    "hidden in a combination": ({"not": {"any": [{"input": "zzz", "equals": 1}]}}, "unknown input 'zzz'"),
}


@pytest.mark.parametrize(("when", "message"), BAD.values(), ids=BAD)
def test_bad_conditions_of_steps(toys, when, message):
    toys.shell()
    toys.component("workflow", "w", steps=[FIRST, judged(when)], inputs=INPUTS)
    with pytest.raises(ComponentError) as caught:
        load(find("workflow:w"))
    assert message in str(caught.value)


def test_a_circle_of_conditions_is_one(toys):
    toys.shell()
    first = FIRST | {"when": {"metric": "again.sum", "at_least": 1}}
    steps = [first, judged({"metric": "add.sum", "at_least": 1})]
    toys.component("workflow", "w", steps=steps, inputs=INPUTS)
    with pytest.raises(ComponentError, match="break the cycle"):
        load(find("workflow:w"))
