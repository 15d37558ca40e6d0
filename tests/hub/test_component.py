"""component.json: what is accepted, and one clear error for everything else."""

from __future__ import annotations

import json

import jsonschema
import pytest

from holdfast.core.errors import ComponentError
from holdfast.core.result import Record
from holdfast.hub import schemas
from holdfast.hub.component import load

BAD_PROGRAMS = {
    "unknown key": ({"colour": "red"}, "colour: unknown key"),
    "bad version": ({"version": "one"}, "version"),
    "bad uid": ({"uid": "xyz"}, "uid"),
    "bad input type": ({"inputs": {"a": {"type": "tensor"}}}, "inputs.a.type"),
    "default of wrong type": ({"inputs": {"a": {"type": "integer", "default": "x"}}}, "expected an integer"),
    "null default of a required input": ({"inputs": {"a": {"type": "integer", "default": None}}}, "default"),
    "range on a string": ({"inputs": {"a": {"type": "string", "minimum": 1}}}, "do not apply"),
    "input named out": ({"inputs": {"out": {"type": "path"}}}, "rename the input"),
    "output outside": ({"outputs": {"o": {"type": "file", "path": "../x"}}}, "'..'"),
    "two entries": ({"entry": {"python": "m:f", "command": ["ls"]}}, "exactly one"),
    "unknown placeholder": ({"entry": {"command": ["ls", "{inputs.zzz}"]}}, "{inputs.zzz}"),
    "cli names nothing": ({"cli": {"positional": ["zzz"]}}, "'zzz'"),
}


@pytest.mark.parametrize(("fields", "message"), BAD_PROGRAMS.values(), ids=BAD_PROGRAMS)
def test_wrong_descriptions_are_refused_with_file_and_field(toys, fields, message):
    folder = toys.add(**fields)
    with pytest.raises(ComponentError) as caught:
        load(folder)
    assert message in str(caught.value)
    assert str(folder / "component.json") in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_TEXT = {
    "not JSON": ("{", "expected JSON"),
    "empty": ("", "expected JSON"),
    "a list": ("[]", "description"),
    "a key twice": ('{"kind": "program", "kind": "program"}', "given twice: kind"),
    "not UTF-8": (b"\xff\xfe", "expected JSON"),
    "no kind": ("{}", "kind"),
    "unknown kind": ('{"kind": "gadget"}', "gadget"),
}


@pytest.mark.parametrize(("text", "message"), BAD_TEXT.values(), ids=BAD_TEXT)
def test_unreadable_descriptions_are_refused(toys, text, message):
    folder = toys.add()
    (folder / "component.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ComponentError, match=message):
        load(folder)


def test_folder_and_content_must_agree(toys):
    folder = toys.add(folder="other")
    with pytest.raises(ComponentError, match="to lie in program/add/"):
        load(folder)


def test_hash_changes_with_any_file_of_the_component(toys):
    folder = toys.add()
    before = load(folder).hash
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "main.pyc").write_bytes(b"x")
    assert load(folder).hash == before
    (folder / "notes.txt").write_text("x")
    assert load(folder).hash != before


@pytest.mark.parametrize("name", ["component.json", "record.json"])
def test_published_schemas_are_current(name):
    published = json.loads((schemas.FOLDER / name).read_text())
    assert published == schemas.current()[name], (
        "run: python -c 'from holdfast.hub import schemas; schemas.write()'"
    )
    jsonschema.Draft202012Validator.check_schema(published)


def test_published_schemas_accept_what_the_models_accept(toys):
    validator = jsonschema.Draft202012Validator(schemas.current()["component.json"])
    for folder in (toys.chain(), toys.add()):
        validator.validate(json.loads((folder / "component.json").read_text()))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(json.loads((toys.add(colour="red") / "component.json").read_text()))
    record = Record(metric="m", value=1.0, unit="1", direction="none").to_json()
    jsonschema.validate(record, schemas.current()["record.json"])


PAPER = {"id": "c1", "text": "t", "source": "Table 1", "value": 1.0, "unit": "1", "status": "not run"}
BAD_CLAIMS = {
    "reduced without how": ([PAPER | {"status": "reduced", "record": {"metric": "m"}}], "reduced_how"),
    "reproduced without a record": ([PAPER | {"status": "reproduced at source scale"}], "needs 'record'"),
    "how without reduced": ([PAPER | {"reduced_how": "x"}], "reduced_how"),
    "one id twice": ([PAPER, PAPER], "used twice: c1"),
    "invented status": ([PAPER | {"status": "reproduced"}], "status"),
}


@pytest.mark.parametrize(("claims", "message"), BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_claims_must_be_backed(toys, claims, message):
    with pytest.raises(ComponentError, match=message):
        load(toys.component("paper", "p", claims=claims))
