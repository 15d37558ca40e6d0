"""One call, many faces: typed functions, ``access``, and the command line give the same answer."""

import json
import sys
from pathlib import Path

import pytest

from holdfast import hub
from holdfast.cli.main import main
from holdfast.core.errors import HoldfastError
from holdfast.hub import accessing, checking

VOLATILE = ("seconds", "started", "id", "experiment", "steps", "platform", "software", "machine")


@pytest.fixture
def command(monkeypatch, capsys):
    """Call the command line in this process; return its JSON and its exit code."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["holdfast", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return json.loads(capsys.readouterr().out), ended.value.code or 0

    return call


def stable(value):
    """``value`` as JSON gives it back, without times and what a cache changes."""
    if isinstance(value, dict):
        return {key: stable(item) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [stable(item) for item in value]
    return json.loads(json.dumps(value, default=str))


def ran(run):
    return {**run.to_json(), "experiment": str(run.folder)}


def published(*specs, to):
    return hub.publish_components(list(specs), Path(to)).to_json()


SAME = [
    pytest.param(
        lambda: [c.to_json() for c in hub.list_components("experiment")],
        {"action": "list", "module_uoa": "experiment"},
        ["list", "experiment"],
        lambda answer: [item["dict"] for item in answer["lst"]],
        id="list",
    ),
    pytest.param(
        lambda: [c.to_json() for c in hub.search("sums", tags=["maths"])],
        {"action": "search", "text": "sums", "tags": "maths"},
        ["search", "sums", "--tag", "maths"],
        lambda answer: [item["dict"] for item in answer["lst"]],
        id="search",
    ),
    pytest.param(
        lambda: hub.find("program:add@>=1").to_json(),
        {"action": "load", "module_uoa": "program", "data_uoa": "add", "versions": ">=1"},
        ["show", "program:add@>=1"],
        lambda answer: answer["dict"],
        id="show",
    ),
    pytest.param(
        lambda: {"path": "repo", "problems": hub.validate(Path("repo"))},
        {"action": "validate", "path": "repo"},
        ["validate", "repo"],
        None,
        id="validate",
    ),
    pytest.param(
        lambda: checking.outcome("program:add"),
        {"action": "test", "cid": "program:add"},
        ["test", "program:add"],
        None,
        id="test",
    ),
    pytest.param(
        lambda: ran(hub.run("program:add", {"a": 3})),
        {"action": "run", "kind": "program", "name": "add", "inputs": {"a": 3}},
        ["run", "program:add", "--a", "3"],
        None,
        id="run",
    ),
    pytest.param(
        lambda: published("program:add", to="a.zip"),
        {"action": "publish", "component": "program:add", "to": "a.zip"},
        ["publish", "program:add", "--to", "a.zip"],
        None,
        id="publish",
    ),
    pytest.param(
        lambda: hub.pull("theirs", consent=True).to_json() | {"added": []},
        {"action": "pull", "module_uoa": "repo", "url": "theirs", "consent": True},
        ["pull", "theirs", "--yes"],
        None,
        id="pull",
    ),
]


@pytest.fixture
def shelf(toys, tmp_path):
    """A repository with ``program:add``, and somebody else's with ``program:double``."""
    checks = {"three": {"inputs": {"a": 1, "b": 2}, "metrics": {"sum": {"value": 3}}}}
    toys.add(tags=["maths"], description="Sums", checks=checks)
    type(toys)(tmp_path / "theirs").double()
    return toys


@pytest.mark.parametrize(("typed", "request_", "words", "inner"), SAME)
def test_every_face_gives_the_same_answer(shelf, command, typed, request_, words, inner):
    expected = stable(typed())
    answer = hub.access(request_)
    assert answer.pop("return") == 0, answer
    printed, code = command(*words, "--json")
    assert code == 0
    assert stable(inner(answer) if inner else answer) == expected
    printed.pop("out", None) if isinstance(printed, dict) else None
    assert stable(printed) == expected


WRONG = [
    pytest.param(
        lambda: hub.find("program:ad"),
        {"action": "show", "component": "program:ad"},
        ["show", "program:ad"],
        3,
        id="unknown component",
    ),
    pytest.param(
        lambda: hub.run("program:add", {"c": 1}),
        {"action": "run", "component": "program:add", "inputs": {"c": 1}},
        ["run", "program:add", "--c", "1"],
        2,
        id="unknown input",
    ),
    pytest.param(
        lambda: hub.pull("nowhere"),
        {"action": "pull", "origin": "nowhere"},
        ["pull", "nowhere"],
        2,
        id="unknown origin",
    ),
    pytest.param(
        lambda: hub.remove("program:bench"),
        {"action": "rm", "cid": "program:bench"},
        ["remove", "program:bench"],
        2,
        id="not one's own",
    ),
    pytest.param(
        lambda: hub.new_component("program:add"),
        {"action": "add", "module_uoa": "program", "data_uoa": "add"},
        ["new", "program:add"],
        2,
        id="taken",
    ),
]


@pytest.mark.parametrize(("typed", "request_", "words", "code"), WRONG)
def test_every_face_gives_the_same_error(shelf, command, typed, request_, words, code):
    with pytest.raises(HoldfastError) as raised:
        typed()
    answer = hub.access(request_)
    printed, exit_code = command(*words, "--json")
    assert (raised.value.exit_code, answer["return"], exit_code) == (code, code, code)
    assert answer["error"] == printed["message"] == str(raised.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"action": "lst"}, "did you mean 'list'"),
        ({}, "unknown action"),
        ([], "a dictionary"),
        ({"action": "show", "module": "program"}, "unknown key of action 'show' 'module'"),
        ({"action": "show", "kind": "program", "module_uoa": "program", "name": "add"}, "one value"),
        ({"action": "show", "kind": "program"}, "'kind' and 'name'"),
        ({"action": "search", "text": 3}, "a str"),
        ({"action": "run", "cid": "program:add", "inputs": []}, "a dict"),
        ({"action": "search", "tags": [3]}, "a list of tags"),
        ({"action": "publish", "cid": "program:add"}, "a repository or a .zip"),
    ],
)
def test_requests_that_say_nothing(shelf, request_, message):
    answer = hub.access(request_)
    assert answer["return"] == 2
    assert message in answer["error"]


def test_the_verb_access_ends_with_the_answer_s_code(shelf, command):
    assert command("access", '{"action": "show", "cid": "program:add"}')[1] == 0
    answer, code = command("access", '{"action": "show", "cid": "program:ad"}')
    assert answer["return"] == code == 3


@pytest.mark.parametrize("action", accessing.ACTIONS)
def test_every_registered_function_exists(action):
    from importlib import import_module

    module, _, name = accessing.ACTIONS[action].function.partition(":")
    assert callable(getattr(import_module(module), name))
