"""The verbs that make, test, fetch and give away components, as one sees them on a terminal."""

import json
import sys
from types import SimpleNamespace

import pytest

from holdfast.cli import components
from holdfast.cli.main import main

DESCRIPTION = {
    "schema": "holdfast.component/1",
    "kind": "program",
    "name": "hello",
    "uid": "00112233445566aa",
    "version": "1.0.0",
    "title": "Says hello",
    "entry": {"command": ["echo", "hello"]},
}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command line in this process, at a terminal if ``answer`` says what is answered there."""
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOLDFAST_REPO", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)

    def run(*words, answer=None):
        terminal = SimpleNamespace(isatty=lambda: answer is not None)
        with monkeypatch.context() as patch:
            patch.setattr(components, "sys", SimpleNamespace(stdin=terminal, stdout=terminal))
            patch.setattr(components.typer, "confirm", lambda text, **_: print(text) or answer)
            patch.setattr(sys, "argv", ["holdfast", *words])
            with pytest.raises(SystemExit) as ended:
                main()
        printed = capsys.readouterr()
        return printed.out + printed.err, ended.value.code or 0

    return run


@pytest.fixture
def theirs(tmp_path):
    """A repository of somebody else with one program."""
    folder = tmp_path / "theirs" / "program" / "hello"
    folder.mkdir(parents=True)
    (folder / "component.json").write_text(json.dumps(DESCRIPTION))
    return folder


def test_what_came_is_shown_before_the_question(call, theirs):
    text, _ = call("pull", "theirs", answer=False)
    assert text.index("content sha256:") < text.index("program:hello") < text.index("May they run?")
    assert "Nothing of it may run yet" in text
    text, code = call("run", "program:hello")
    assert code == 3
    assert "--yes" in text
    assert "may run since" in call("pull", "theirs", answer=True)[0]
    assert call("run", "program:hello")[1] == 0


def test_without_a_terminal_only_yes_is_consent(call, theirs):
    assert "Nothing of it may run yet" in call("pull", "theirs")[0]
    assert "(no consent)" in call("list", "program")[0]
    assert "no consent: nothing of it runs" in call("list", "--repositories")[0]
    assert "may run since" in call("pull", "theirs", "--yes")[0]
    assert "(no consent)" not in call("list", "program")[0]
    (theirs / "more.txt").write_text("more")
    text, _ = call("pull", "theirs")
    assert "changed" in text
    assert "Nothing of it may run yet" in text


def test_a_yanked_version_says_so_when_it_is_used_all_the_same(call, theirs):
    (theirs / "component.json").write_text(json.dumps(DESCRIPTION | {"yanked": "says goodbye"}))
    call("pull", "theirs", "--yes")
    assert "1.0.0 (yanked)" in call("list", "program")[0]
    assert "yanked: says goodbye" in call("show", "program:hello@1.0.0")[0]
    assert call("run", "program:hello")[1] == 3
    text, code = call("run", "program:hello@1.0.0")
    assert code == 0
    assert "program:hello 1.0.0 is yanked: says goodbye" in text


def test_a_broken_description_is_told_beside_the_list(call):
    call("new", "program:mine")
    text, _ = call("list", "program")
    assert "program:mine" in text
    assert "cannot be read" not in text
    (file,) = components.Path("home").glob("repo/program/mine/component.json")
    file.write_text("{")
    assert f"holdfast validate {file.parent.resolve()}" in call("list", "program")[0].replace("\n", "")
