"""Templates validate and run as they are; checks tell what is wrong; kinds of a project's own."""

import json

import pytest

from holdfast.core.errors import ComponentError, StepError, UnknownNameError, UsageError
from holdfast.hub import act, checking, find, list_components, new_component, run_checks, validate
from holdfast.hub.kinds import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_template_is_valid(toys, kind):
    component = new_component(f"{kind}:mine")
    assert component.root == toys.root
    assert validate(toys.root) == []
    assert find(f"{kind}:mine").uid == component.uid


@pytest.mark.parametrize("spec", ["program:mine", "workflow:mine"])
def test_a_template_s_own_checks_pass(toys, spec):
    new_component(spec)
    checked = run_checks(spec)
    assert [(check.name, check.problems) for check in checked] == [("valid", []), ("greets", [])]


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("program:mine", UsageError),
        ("program:Mine", UsageError),
        ("program:../mine", UsageError),
        ("program:mine@1.0.0", UsageError),
        ("kind:program", UsageError),
        ("nothing:mine", UnknownNameError),
    ],
)
def test_names_that_are_taken_or_none(toys, spec, error):
    new_component("program:mine")
    with pytest.raises(error):
        new_component(spec)


def test_where_new_components_go(toys, tmp_path, monkeypatch):
    assert new_component("program:there", repository=tmp_path / "other").root == tmp_path / "other"
    monkeypatch.delenv("HOLDFAST_REPO")
    assert find(new_component("program:own").id).repository == "user"


WRONG = {
    "value": ({"metrics": {"sum": {"value": 4}}}, "metric sum: 3, expected 4 within 0"),
    "minimum": ({"metrics": {"sum": {"minimum": 5}}}, "metric sum: 3, expected at least 5"),
    "maximum": ({"metrics": {"sum": {"maximum": 1}}}, "metric sum: 3, expected at most 1"),
    "metric": ({"metrics": {"product": {}}}, "metric product: was not measured"),
    "text": ({"outputs": {"sum.txt": {"contains": "4"}}}, "output sum.txt: does not contain '4'"),
    "hash": ({"outputs": {"sum.txt": {"sha256": "0" * 64}}}, "expected 0000"),
    "output": ({"outputs": {"other.txt": {}}}, "output other.txt: is missing"),
    "end": ({"exit_code": 5}, "exit code 0, expected 5"),
    "input": ({"inputs": {"a": "none"}}, "exit code 2, expected 0"),
}


def test_a_check_says_what_is_wrong(toys):
    good = {"inputs": {"a": 1, "b": 2}, "metrics": {"sum": {"value": 3.1, "tolerance": 0.2}}}
    checks = {name: {"inputs": {"a": 1, "b": 2}, **check} for name, (check, _) in WRONG.items()}
    toys.add(checks={"good": good, **checks})
    valid, first, *others = run_checks("program:add", force=False)
    assert valid.passed
    assert first.passed
    assert [check.name for check in others] == list(WRONG)
    for check in others:
        assert len(check.problems) == 1
        assert WRONG[check.name][1] in check.problems[0]
    with pytest.raises(StepError, match="value: metric sum"):
        checking.outcome("program:add", force=False)


def test_a_failure_that_is_expected_passes(toys):
    toys.add(checks={"wrong": {"inputs": {"a": "x"}, "exit_code": 2}})
    assert all(check.passed for check in run_checks("program:add"))


def test_a_kind_of_a_project_s_own(toys, tmp_path):
    new_component("kind:card")
    kind = find("kind:card")
    definition = json.loads((kind.folder / "component.json").read_text())
    definition["fields"]["required"] = ["about"]
    (kind.folder / "component.json").write_text(json.dumps(definition))
    card = new_component("card:blue")
    assert [c.id for c in list_components("card")] == ["card:blue"]
    assert [check.name for check in run_checks("card:blue")] == ["valid", "test"]
    assert act("card:blue", "test", out=tmp_path / "out").status == "ok"
    with pytest.raises(UnknownNameError, match="action"):
        act("card:blue", "shuffle")
    described = json.loads((card.folder / "component.json").read_text())
    (card.folder / "component.json").write_text(json.dumps(described | {"fields": {"about": 3}}))
    assert any("about: 3 is not of type 'string'" in str(problem) for problem in validate(card.folder))
    with pytest.raises(ComponentError, match="about"):
        checking.outcome("card:blue")


def test_a_kind_that_nobody_defines(toys):
    toys.component("deck", "old", fields={})
    with pytest.raises(UnknownNameError, match="unknown kind"):
        find("deck:old")
    assert any("expected a kind 'deck'" in str(problem) for problem in validate(toys.root / "deck" / "old"))


def test_the_schema_of_a_kind_reaches_no_network(toys):
    new_component("kind:card")
    file = find("kind:card").folder / "component.json"
    fields = {"$ref": "https://example.org/schema.json"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fields": fields}))
    new_component("card:blue")
    assert any("refers to what it does not hold" in str(p) for p in validate(toys.root / "card" / "blue"))
