"""The verb ``detect``, in this process."""

import json

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.core.errors import ComponentError, HoldfastError, UsageError


@pytest.fixture
def detect(tmp_path, monkeypatch):
    """Return a function that runs ``holdfast detect``; two gits and a broken one are all there is."""
    for folder, text in (("a", "git version 2.39.5"), ("b", "git version 2.47.1"), ("c", "oops")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "git").write_text(f"#!/bin/sh\necho {text}\n")
        (tmp_path / folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c")
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words):
        done = CliRunner().invoke(app, ["detect", *words])
        if isinstance(done.exception, HoldfastError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done

    return run


def test_a_table_of_all_installations(detect, tmp_path):
    lines = detect("soft:git").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["software", "version", "path"],
        ["soft:git", "2.39.5", f"{tmp_path}/a/git"],
        ["soft:git", "2.47.1", f"{tmp_path}/b/git"],
    ]


def test_verbose_says_how_and_what_did_not_answer(detect, tmp_path):
    text = detect("git", "-v").stdout
    assert f"in {tmp_path}/a; sha256 " in text
    assert f"no answer: soft:git: {tmp_path}/c/git: no version in 'oops'" in text


def test_json_holds_everything(detect, tmp_path):
    (outcome,) = json.loads(detect("soft:git", "--json").stdout)
    assert [found["version"] for found in outcome["found"]] == ["2.39.5", "2.47.1"]
    assert set(outcome["found"][0]) >= {
        "component",
        "version",
        "path",
        "binary_hash",
        "environment",
        "how",
        "real",
    }
    assert outcome["looked"] == ["git on PATH and in no further folder"]


def test_one_of_a_range_is_printed_by_its_path(detect, tmp_path):
    assert detect("git", "--one", "--versions", ">=2.40").stdout == f"{tmp_path}/b/git\n"
    assert json.loads(detect("git", "--one", "--versions", "<2.40", "--json").stdout)["version"] == "2.39.5"


def test_one_of_several_is_never_guessed(detect, tmp_path):
    with pytest.raises(
        ComponentError, match=f"2 installations of soft:git.*2.39.5 at {tmp_path}/a/git; 2.47.1"
    ):
        detect("git", "--one")


def test_what_is_not_there_is_an_error_that_says_where_was_looked(detect):
    with pytest.raises(ComponentError, match=r"soft:slurm.*sbatch on PATH and in /opt/slurm/bin") as error:
        detect("slurm")
    assert error.value.exit_code == 3
    with pytest.raises(ComponentError, match=r"soft:git >=3: expected an installation"):
        detect("git", "--versions", ">=3")


def test_a_change_is_told_on_stderr(detect, tmp_path):
    detect("git")
    (tmp_path / "b" / "git").unlink()
    done = detect("git", "--json")
    assert f"detected anew: {tmp_path}/b/git (version 2.47.1) is gone" in done.stderr
    assert len(json.loads(done.stdout)[0]["found"]) == 1


@pytest.mark.parametrize(
    "words", [("all", "--one"), ("all", "--distribution", "x"), ("git", "--colour", "x")]
)
def test_what_cannot_be_meant_is_refused(detect, words):
    with pytest.raises(UsageError):
        detect(*words)


def test_all_says_what_is_absent_and_with_v_where_was_looked(detect, monkeypatch):
    from holdfast.hub import detection

    outcomes = [
        detection.Outcome("soft:go", looked=["go on PATH"], problems=["/x/go: exit code 1"]),
        detection.Outcome("soft:root", looked=["root-config on PATH"]),
    ]
    monkeypatch.setattr(detection, "outcome_of_all", lambda **_: outcomes)
    assert detect().stdout == "not found: go, root\n(-v says where was looked)\n"
    assert detect("-v").stdout.splitlines() == [
        "not found: soft:go: go on PATH",
        "not found: soft:root: root-config on PATH",
        "no answer: soft:go: /x/go: exit code 1",
    ]
