"""Repositories of CK, CM and MLC: found, searched, shown, checked, detection used where it is declared."""

import json

import pytest

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub import find, list_components, publish_components, pull, run, scan, search, validate

UID = "0123456789abcdef"
GCC = {
    "customize": {"env_prefix": "CK_ENV_COMPILER_GCC"},
    "env": {"CK_CC": "$#tool_prefix#$gcc", "CK_OPT_SPEED": "-O3"},
    "soft_name": "Compiler - GCC",
    "tags": ["compiler", "gcc", "lang-c"],
    "tool": "gcc",
    "version": {"cmd": "--version > $#filename#$ 2>&1", "string_before": ") "},
}
SCRIPTED = {"customize": {"soft_file_universal": "libx$#file_ext_dll#$"}, "soft_name": "x", "tags": ["lib"]}
PROGRAM = {
    "build_compiler_vars": {"N": ""},
    "run_cmds": {"default": {}},
    "tags": ["demo"],
    "desc": "A demo of CK",
}
GET_GCC = f"""
alias: get-gcc
uid: {UID[::-1]}
automation_alias: script
automation_uid: 5b4e0237da074764
name: Detect or install a compiler
cache: true
date: 2024-01-02
tags: [get, gcc, c_compiler]
deps:
- tags: detect,os
  version_min: '7'
variations:
  path.#:
    env: {{X: '#'}}
"""


@pytest.fixture
def entry(tmp_path, toys):
    """Write an entry of a CK repository below ``ck``."""

    def write(module, name, meta, uid):
        folder = tmp_path / "ck" / module / name / ".cm"
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps(meta))
        (folder / "info.json").write_text(json.dumps({"data_name": name}))
        aliases = tmp_path / "ck" / module / ".cm"
        aliases.mkdir(exist_ok=True)
        (aliases / f"alias-a-{name}").write_text(uid + "\n")
        (aliases / f"alias-u-{uid}").write_text(name + "\n")
        (tmp_path / "ck" / ".ckr.json").write_text(
            json.dumps({"data_uid": "f" * 16, "dict": {"repo_deps": []}})
        )
        return folder

    return write


@pytest.fixture
def ck(entry, tmp_path):
    """A CK repository with software that is declared, software that is scripted, and a program."""
    entry("soft", "compiler.gcc", GCC, UID)
    entry("soft", "lib.x", SCRIPTED, "1" * 16)
    entry("program", "demo_one", PROGRAM, "2" * 16)
    return tmp_path / "ck"


@pytest.fixture(params=["_cm.yaml", "meta.yaml"])
def cm(request, tmp_path, toys):
    """A CM repository, or an MLC one."""
    folder = tmp_path / "cm" / "script" / "get-gcc"
    folder.mkdir(parents=True)
    (folder / request.param).write_text(GET_GCC)
    root = "cmr.yaml" if request.param == "_cm.yaml" else "meta.yaml"
    (tmp_path / "cm" / root).write_text("alias: a-repo\nuid: 5555555555555555\ngit: true\n")
    return tmp_path / "cm"


def test_ck_is_found_searched_and_shown(ck):
    contents = pull(str(ck))
    ids = {component.id for component in contents.components}
    assert ids == {"soft:compiler-gcc", "ck-soft:lib-x", "ck-program:demo-one"}
    assert contents.problems == []
    assert [component.id for component in contents.runnable] == ["soft:compiler-gcc"]
    assert [c.id for c in search("demo of ck")] == ["ck-program:demo-one"]
    assert {c.id for c in search(tags=["lang-c"])} >= {"soft:compiler-gcc"}
    assert {c.id for c in list_components() if c.repository == "ck"} == ids
    assert find(f"ck-program:{'2' * 16}").to_json()["fields"] == PROGRAM
    assert find("ck-soft:lib-x").name == "lib-x"


def test_declared_detection_becomes_ours_without_what_needs_a_script(ck):
    pull(str(ck))
    detect = find("ck:soft:compiler-gcc").meta.detect
    assert detect.binaries == ["gcc"]
    assert detect.command == ["{binary}", "--version"]
    assert detect.environment == {"CK_OPT_SPEED": "-O3"}
    import re

    assert re.search(detect.pattern, "gcc (Debian 12.2.0-14) 12.2.0")["version"] == "12.2.0"


@pytest.mark.parametrize(
    "command", ["--version; rm -rf /", "$(touch x)", "--version | tee y", "`z`", "$#tool#$ --version"]
)
def test_a_command_that_only_a_shell_understands_is_not_declarative(entry, tmp_path, command):
    entry("soft", "evil", {**GCC, "version": {"cmd": command}}, UID)
    assert [component.id for component in pull(str(tmp_path / "ck")).components] == ["ck-soft:evil"]


def test_what_ck_calls_a_program_does_not_run_here(ck):
    pull(str(ck), consent=True)
    with pytest.raises(UsageError, match="demo-one"):
        run("ck-program:demo-one")


def test_problems_of_ck_metadata_are_listed(ck, entry):
    (ck / "soft" / ".cm" / f"alias-u-{UID}").write_text("other")
    entry("program", "two", {"tags": "a,b"}, "3" * 16)
    entry("program", "three", {}, "no uid")
    entry("program", "four", [], "4" * 16)
    problems = "\n".join(map(str, validate(ck)))
    assert "expected the name compiler.gcc, got other" in problems
    assert "tags: expected a list, got str" in problems
    assert "expected 16 hex digits, got 'no uid'" in problems
    assert "expected a JSON object, got list" in problems
    contents = pull(str(ck))
    assert len(contents.problems) == 4
    assert find("ck-program:two").meta.tags == ["a", "b"]
    assert len([p for p in scan().problems if "program" in str(p)]) == 2


def test_cm_and_mlc(cm):
    contents = pull(str(cm))
    assert [component.id for component in contents.components] == ["cm-script:get-gcc"]
    assert contents.problems == []
    assert contents.runnable == []
    found = find("cm-script:get-gcc")
    assert (found.uid, found.meta.tags) == (UID[::-1], ["get", "gcc", "c-compiler"])
    shown = found.to_json()
    assert shown["title"] == "Detect or install a compiler"
    assert shown["fields"]["deps"] == [{"tags": "detect,os", "version_min": "7"}]
    assert json.loads(json.dumps(shown))["fields"]["date"] == "2024-01-02"
    assert [c.id for c in search("detect compiler", kind="cm-script")] == ["cm-script:get-gcc"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uid: 5", "expected 16 hex digits"),
        ("- a", "a mapping"),
        ("a: [", "YAML"),
        ("!!python/object/apply:os.system ['true']", "YAML"),
        (f"uid: '{UID}'\nalias: other", "alias: expected the name of the folder"),
        (f"uid: '{UID}'\nalias: get-gcc\ndeps: [a]", "deps: expected a list of mappings"),
    ],
)
def test_problems_of_cm_metadata_are_listed(cm, text, message):
    file = next((cm / "script" / "get-gcc").iterdir())
    file.write_text(text)
    assert any(message in str(problem) for problem in validate(cm))


def test_aliases_of_yaml_cannot_blow_up(cm):
    levels = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
    file = next((cm / "script" / "get-gcc").iterdir())
    file.write_text(f"uid: '{UID}'\na0: &a0 [1]\n{levels}\n")
    assert any("more than 100000 values" in str(problem) for problem in validate(cm))


def test_foreign_components_are_not_published_as_ours(ck, tmp_path):
    pull(str(ck))
    with pytest.raises(ComponentError, match="CK"):
        publish_components(["ck-program:demo-one"], tmp_path / "a.zip")
