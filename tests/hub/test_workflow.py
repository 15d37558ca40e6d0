"""Wiring is checked when a workflow is loaded: one clear error each."""

from __future__ import annotations

import pytest

from holdfast.core.errors import ComponentError
from holdfast.hub import find, run
from holdfast.hub.workflow import load

ADD = {"id": "add", "uses": "program:add", "with": {"a": 1}}
OPTIONAL = {"a": {"type": "integer", "optional": True}}


def double(source, **more):
    return {"id": "double", "uses": "program:double", "with": {"source": source}, **more}


def adding(a, **more):
    return {"id": "add", "uses": "program:add", "with": {"a": a, **more}}


BAD = {
    "unknown program": ([{"id": "x", "uses": "program:nothing"}], "step 'x': unknown component"),
    "unsatisfied version": ([ADD | {"uses": "program:add@>=2"}], "no version"),
    "unknown step": ([double({"from": "zzz.sum"})], "expected a step"),
    "unknown output": ([ADD, double({"from": "add.zzz"})], "one of sum, records, got 'zzz'"),
    "unknown workflow input": ([adding({"from": "inputs.zzz"})], "unknown input 'zzz'"),
    "unknown step input": ([adding(1, c=3)], "unknown input 'c': expected one of a, b"),
    "missing input": ([ADD | {"with": {}}], "a value for a"),
    "literal of the wrong type": ([adding("x")], "expected an integer, got 'x'"),
    "input of the wrong type": ([adding({"from": "inputs.word"})], "inputs.word, of type string"),
    "output where a number is due": (
        [ADD, ADD | {"id": "b", "with": {"a": {"from": "add.sum"}}}],
        "a file or folder",
    ),
    "list where one is due": ([ADD, double([{"from": "add.sum"}])], "a single reference"),
    "cycle": (
        [double({"from": "again.double"}), double({"from": "double.double"}, id="again")],
        "break the cycle",
    ),
    "itself": ([double({"from": "double.double"})], "wait for each other: got double"),
    "id twice": ([ADD, ADD], "step ids used once"),
    "reserved id": ([ADD | {"id": "inputs"}], "choose another step id"),
    "skipped into required": (
        [ADD | {"when": {"input": "word", "equals": "x"}}, double({"from": "add.sum"})],
        "may be null; make the input optional",
    ),
    "null into required": ([adding({"from": "inputs.maybe"})], "may be null"),
    "unknown condition": ([ADD | {"when": {"input": "zzz", "equals": 1}}], "unknown input 'zzz'"),
    "condition of the wrong type": ([ADD | {"when": {"input": "word", "equals": 1}}], "a string"),
    "not a program": ([ADD | {"uses": "workflow:w"}], "steps.0.uses"),
}
INPUTS = {"word": {"type": "string", "default": "x"}, "maybe": {"type": "integer", "optional": True}}


@pytest.mark.parametrize(("steps", "message"), BAD.values(), ids=BAD)
def test_bad_wiring(toys, steps, message):
    toys.add()
    toys.double()
    toys.component("workflow", "w", steps=steps, inputs=INPUTS)
    with pytest.raises(ComponentError) as caught:
        load(find("workflow:w"))
    assert message in str(caught.value)
    assert "w/component.json" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"outputs": {"x": {"from": "add.zzz"}}}, "output 'x'"),
        ({"outputs": {"../x": {"from": "add.sum"}}}, "relative path"),
        ({"outputs": {"run.json": {"from": "add.sum"}}}, "written by the runner"),
        ({"choices": {"add.zzz": {"type": "integer", "low": 1, "high": 2}}}, "unknown input 'zzz'"),
        ({"choices": {"zzz.a": {"type": "integer", "low": 1, "high": 2}}}, "expected a step"),
        ({"choices": {"add.a": {"type": "categorical", "values": ["x"]}}}, "expected an integer"),
        ({"choices": {"add.a": {"type": "integer", "low": 3, "high": 2}}}, "low <= high"),
        ({"choices": {"add.a": {"type": "number", "low": 0, "high": 2, "log": True}}}, "low > 0"),
        ({"choices": {"add.a": {"type": "integer"}}}, "any other has 'low' and 'high'"),
    ],
)
def test_bad_outputs_and_choices(toys, fields, message):
    toys.add()
    toys.component("workflow", "w", steps=[ADD], **fields)
    with pytest.raises(ComponentError, match=message):
        load(find("workflow:w"))


def test_steps_run_after_what_they_need_and_otherwise_as_written(toys):
    toys.add()
    toys.double()
    steps = [
        double({"from": "add.sum"}),
        ADD | {"id": "z"},
        ADD,
        double({"from": "double.double"}, id="last"),
    ]
    toys.component("workflow", "w", steps=steps)
    assert [step.id for step in load(find("workflow:w")).steps] == ["z", "add", "double", "last"]


def test_skipped_steps_may_feed_optional_inputs_and_steps_of_the_same_condition(toys):
    toys.add()
    toys.double()
    when = {"input": "word", "equals": "x"}
    toys.component(
        "workflow", "w", inputs=INPUTS, steps=[ADD | {"when": when}, double({"from": "add.sum"}, when=when)]
    )
    assert len(load(find("workflow:w")).steps) == 2


def test_a_step_may_depend_on_an_input_being_given(toys, statuses):
    toys.add()
    steps = [adding({"from": "inputs.maybe"}) | {"when": {"input": "maybe", "given": True}}]
    inputs = {"maybe": {"type": "integer", "optional": True, "default": None}}
    toys.component("workflow", "w", inputs=inputs, steps=steps)
    assert statuses(run("workflow:w")) == {"add": "skipped"}
    assert run("workflow:w").steps[0].reasons == ["maybe is not given"]
    assert statuses(run("workflow:w", {"maybe": 3})) == {"add": "ran"}


def test_a_condition_says_one_thing(toys):
    toys.add()
    for when in ({"input": "a"}, {"input": "a", "equals": 1, "given": True}):
        toys.component("workflow", "w", inputs=OPTIONAL, steps=[ADD | {"when": when}])
        with pytest.raises(
            ComponentError, match="exactly one of 'equals', 'one_of', 'at_least', 'at_most' and 'given'"
        ):
            find("workflow:w")
