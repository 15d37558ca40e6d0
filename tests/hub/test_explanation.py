"""Why a step hits or misses, before and after it does."""

from __future__ import annotations

import json

import pytest

from holdfast.core import environment
from holdfast.hub import explain, key, run


def now(component, inputs=None):
    return {item.step: (item.now, item.why) for item in explain(component, inputs)}


def last(component, inputs=None):
    return {item.step: (item.last, item.last_why) for item in explain(component, inputs)}


def test_before_and_after_the_first_run(toys):
    toys.chain()
    waiting = ("miss", ["will run because step add will run"])
    assert now("workflow:chain") == {"add": ("miss", ["never run"]), "double": waiting}
    assert last("workflow:chain") == {"add": (None, []), "double": (None, [])}
    result = run("workflow:chain")
    unchanged = ("hit", [f"nothing changed since run {result.id}"])
    assert now("workflow:chain") == {"add": unchanged, "double": unchanged}
    assert last("workflow:chain") == {"add": ("ran", ["never run"]), "double": ("ran", ["never run"])}
    run("workflow:chain")
    assert last("workflow:chain") == {"add": unchanged, "double": unchanged}


def test_a_changed_input_is_named(toys):
    toys.chain()
    run("workflow:chain", {"a": 30000})
    assert now("workflow:chain", {"a": 40000})["add"] == ("miss", ["inputs.a: 30000 -> 40000"])
    run("workflow:chain", {"a": 40000})
    assert last("workflow:chain")["add"] == ("ran", ["inputs.a: 30000 -> 40000"])
    assert now("workflow:chain", {"a": 30000})["add"][0] == "hit"


def test_a_changed_file_is_named(toys, tmp_path):
    toys.double()
    (tmp_path / "n.txt").write_text("1")
    run("program:double", {"source": "n.txt"})
    (tmp_path / "n.txt").write_text("2")
    assert now("program:double", {"source": "n.txt"})["double"] == ("miss", ["file source: changed"])


def test_a_moved_file_still_hits(toys, tmp_path):
    toys.double()
    (tmp_path / "n.txt").write_text("1")
    run("program:double", {"source": "n.txt"})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "n.txt").rename(tmp_path / "elsewhere/n.txt")
    assert now("program:double", {"source": "elsewhere/n.txt"})["double"][0] == "hit"


def test_a_changed_component_is_named(toys):
    toys.add()
    run("program:add", {"a": 1})
    toys.add(version="1.0.1")
    assert now("program:add", {"a": 1})["add"] == ("miss", ["component program:add: 1.0.0 -> 1.0.1"])
    toys.add(title="Other")
    assert now("program:add", {"a": 1})["add"] == ("miss", ["component program:add: changed"])


def test_changed_software_is_named(toys, monkeypatch):
    toys.add()
    run("program:add", {"a": 1})
    changed = {**environment.software(), "numpy": "99.0", "extra": "1.0"}
    monkeypatch.setattr(environment, "software", lambda: changed)
    found = now("program:add", {"a": 1})["add"][1]
    assert any(text.startswith("numpy ") and text.endswith(" -> 99.0") for text in found)
    assert "extra absent -> 1.0" in found


def test_changed_code_of_a_package_is_named(toys, tmp_path, monkeypatch):
    package = tmp_path / "lib" / "toypackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def run(out): pass\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    toys.component("program", "p", entry={"python": "toypackage:run"})
    run("program:p")
    assert now("program:p")["p"][0] == "hit"
    (package / "__init__.py").write_text("def run(out): print(1)\n")
    key.package_hash.cache_clear()
    assert now("program:p")["p"] == ("miss", ["code of toypackage changed"])


def test_a_damaged_or_missing_result_is_told(toys, tmp_path):
    toys.add()
    result = run("program:add", {"a": 1})
    result.output("add", "sum").chmod(0o644)
    result.output("add", "sum").write_text("tampered")
    assert now("program:add", {"a": 1})["add"] == ("miss", ["the cached result was damaged"])
    again = run("program:add", {"a": 1})
    assert again.steps[0].reasons == ["the cached result was damaged"]
    assert again.output("add", "sum").read_text() == "2"
    (folder,) = (tmp_path / "home/cache").glob("*/*")
    folder.rename(tmp_path / "gone")
    assert now("program:add", {"a": 1})["add"] == ("miss", ["the cached result is gone"])


def test_forced_and_never_cached(toys):
    toys.add()
    run("program:add", {"a": 1}, force=True)
    assert last("program:add", {"a": 1})["add"] == ("ran", ["forced"])
    toys.add(cache=False)
    assert now("program:add", {"a": 1})["add"] == (
        "miss",
        ["never served from the cache: its component says so"],
    )


def test_a_failure_is_told(toys, tmp_path):
    toys.double()
    (tmp_path / "n.txt").write_text("not a number")
    with pytest.raises(Exception, match="invalid literal"):
        run("program:double", {"source": "n.txt"})
    assert now("program:double", {"source": "n.txt"})["double"] == ("miss", ["failed in the last run"])


def test_explaining_changes_nothing(toys, tmp_path):
    toys.chain()
    run("workflow:chain")
    before = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*.json*")}
    explain("workflow:chain", {"a": 9})
    assert {path: path.read_bytes() for path in (tmp_path / "home").rglob("*.json*")} == before


def test_explanations_are_json(toys):
    toys.chain()
    text = json.dumps([item.to_json() for item in explain("workflow:chain")])
    assert json.loads(text)[0]["why"] == ["never run"]
