"""New components from templates that validate and run as they are."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any, Final

from holdfast.core.errors import UsageError
from holdfast.core.paths import atomic_folder, home, write_json, write_text
from holdfast.hub import component as components
from holdfast.hub.component import FILE, Component
from holdfast.hub.kinds import KINDS, NAME
from holdfast.hub.repository import known_kinds
from holdfast.hub.spec import parse

_PROGRAM: Final = '''"""What program:{name} does; it knows nothing of Holdfast."""

import json


def run(out, *, name):
    """Write a greeting for ``name``, and how long it is."""
    greeting = f"Hello, {{name}}!"
    (out / "greeting.txt").write_text(greeting + "\\n")
    (out / "result.json").write_text(json.dumps({{"length": len(greeting)}}))
'''
_TEST: Final = """import json


def run(out, *, component):
    described = json.loads((component / "component.json").read_text())
    assert described["fields"], "a component of this kind says something"
"""


_TESTER: Final = {"inputs": {"component": {"type": "path"}}, "entry": {"python": "main.py:run"}}


def new_component(spec: str, *, repository: Path | None = None) -> Component:
    """Make ``kind:name`` from its kind's template in ``repository``, or where the user's own components lie.

    That is the first folder of ``$HOLDFAST_REPO``, else ``repo`` in the home folder. A kind that cannot do
    without a program gets one of the same name, unless there is one. Raises UsageError if the name is taken
    or not allowed, UnknownNameError for an unknown kind, StorageError.
    """
    wanted = parse(spec)
    if wanted.repository or str(wanted.versions) or not re.fullmatch(NAME, wanted.name):
        raise UsageError(
            "new component", expected="kind:name in lower-case letters, digits, dashes", got=spec
        )
    root = (repository or own_repository()).expanduser().resolve()
    return _make(wanted.kind, wanted.name, root)


def own_repository() -> Path:
    """Where new components go: the first folder of ``$HOLDFAST_REPO``, else the user's repository."""
    given = [part for part in os.environ.get("HOLDFAST_REPO", "").split(os.pathsep) if part]
    return Path(given[0]) if given else home() / "repo"


def _make(kind: str, name: str, root: Path) -> Component:
    if kind not in known_kinds(root):
        from holdfast.core.errors import UnknownNameError

        raise UnknownNameError("kind", kind, known_kinds(root))
    folder = root / kind / name
    if folder.exists():
        raise UsageError(f"{kind}:{name}", expected="a new name", got=f"{folder}, which exists")
    fields, files, needs_program = _template(kind, name)
    program = root / "program" / name
    if needs_program and not (program / FILE).is_file():
        _make("program", name, root)
    if kind == "kind" and not (tester := root / "program" / f"test-{name}").exists():
        _write(tester, _described("program", tester.name, _TESTER), {"main.py": _TEST})
    _write(folder, _described(kind, name, fields), files)
    return components.load(folder, "project", root)


def _described(kind: str, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": "holdfast.component/1",
        "kind": kind,
        "name": name,
        "uid": secrets.token_hex(8),
        "version": "0.1.0",
        "title": name.replace("-", " ").capitalize(),
        **fields,
    }


def _write(folder: Path, description: dict[str, Any], files: dict[str, str]) -> None:
    with atomic_folder(folder) as staging:
        for file, text in files.items():
            write_text(staging / file, text)
        write_json(staging / FILE, description)


def _template(kind: str, name: str) -> tuple[dict[str, Any], dict[str, str], bool]:
    """Fields, files, and whether a program of the same name is needed."""
    fields: dict[str, Any]
    greet = {"name": {"type": "string", "description": "whom to greet", "default": "world"}}
    uses = f"program:{name}"
    if kind == "program":
        fields = {
            "tags": ["example"],
            "inputs": greet,
            "outputs": {
                "greeting": {"type": "file", "path": "greeting.txt"},
                "result": {"type": "file", "path": "result.json"},
            },
            "metrics": {
                "length": {"unit": "1", "direction": "none", "read": {"from": "result", "json": "length"}}
            },
            "entry": {"python": "main.py:run"},
            "checks": {
                "greets": {
                    "inputs": {"name": "you"},
                    "outputs": {"greeting.txt": {"contains": "Hello, you!"}},
                    "metrics": {"length": {"value": 11}},
                }
            },
            "example": f"holdfast run {uses} --name you",
        }
        return fields, {"main.py": _PROGRAM.format(name=name)}, False
    if kind == "workflow":
        step = {"id": "greet", "uses": uses, "with": {"name": {"from": "inputs.name"}}}
        fields = {
            "inputs": greet,
            "steps": [step],
            "outputs": {"greeting.txt": {"from": "greet.greeting"}},
            "choices": {"name": {"type": "categorical", "values": ["world", "you"]}},
            "checks": {"greets": {"outputs": {"greeting.txt": {"contains": "Hello, world!"}}}},
            "example": f"holdfast run workflow:{name}",
        }
        return fields, {}, True
    if kind == "paper":
        claim = {"id": "table-1", "text": "what it says", "source": "Table 1", "value": 0, "unit": "1"}
        return {"claims": [{**claim, "status": "not run"}], "reference": "who wrote it"}, {}, False
    if kind == "experiment":
        return {"of": uses, "records": "records.jsonl"}, {"records.jsonl": ""}, True
    if kind == "soft":
        detect = {
            "binaries": [name],
            "command": ["{binary}", "--version"],
            "pattern": r"(?P<version>\d+(?:\.\d+)+)",
        }
        return {"detect": detect}, {}, False
    if kind == "package":
        return {"generate": {"uses": uses}, "provides": {"greeting": "greeting.txt"}}, {}, True
    if kind == "kind":
        if name in KINDS:
            raise UsageError(f"kind:{name}", expected="a name of its own", got="that of a built-in kind")
        fields = {
            "fields": {"type": "object", "properties": {"about": {"type": "string"}}},
            "actions": {"test": f"program:test-{name}"},
        }
        return fields, {}, False
    assert kind not in KINDS, f"{kind} has no template"
    return {"fields": {"about": "what it is"}}, {}, False
