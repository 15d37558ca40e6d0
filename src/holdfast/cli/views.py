"""What the verbs that only look do: one library call each, and the printing of its answer."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from holdfast.cli.output import print_json, print_lines, print_table
from holdfast.core.errors import ComponentError, UsageError


def load_builtin(kind: str, name: str) -> dict[str, Any]:
    """A shipped component's description as plain JSON: cheap enough for ``--help``."""
    import holdfast

    path = Path(holdfast.__file__).parent / "components" / kind / name / "component.json"
    loaded: dict[str, Any] = jsonlib.loads(path.read_text(encoding="utf-8"))
    return loaded


def components(text: str = "", *, kind: str | None = None, tags: Iterable[str] = (), json: bool) -> None:
    """Print the components that match, as a table from the index, or as JSON from their files."""
    from holdfast.hub import index

    found = index.listing(text, kind=kind, tags=tags)
    if json:
        print_json([item.load().to_json() for item in found])
    elif found:
        rows = [
            (
                item.id,
                item.version + (" (yanked)" if item.yanked else ""),
                item.repository.name + ("" if item.repository.trusted else " (no consent)"),
                item.title,
            )
            for item in found
        ]
        print_table(("component", "version", "repository", "title"), rows)
    else:
        print("nothing found; `holdfast list` shows everything", file=sys.stderr)
    for folder in [] if text or tags else index.unreadable():
        if kind in (None, folder.parent.name):
            print(f"cannot be read: {folder}; see: holdfast validate {folder}", file=sys.stderr)


def repositories(json: bool) -> None:
    """Print the repositories in order of precedence, pulled ones with origin, hash and consent."""
    from holdfast.hub import pulled, repository

    origins = {each.root: each for each in pulled.read_all()[0]}
    rows = []
    for place in repository.repositories():
        one = origins.get(place.root)
        consent = f"{one.consent.when} by {one.consent.who}" if one and one.consent else None
        details = (
            {"origin": one.origin, "revision": one.revision, "hash": f"sha256:{one.hash}"} if one else {}
        )
        rows.append({"name": place.name, "folder": str(place.root), **details, "consent": consent})
    if json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['name']}: {row['folder']}")
        if "origin" in row:
            revision = f" at {row['revision']}" if row["revision"] else ""
            print(f"  from {row['origin']}{revision}, content {row['hash']}")
            print(f"  {'consent: ' + row['consent'] if row['consent'] else 'no consent: nothing of it runs'}")


def show(target: str, json: bool) -> None:
    """Print one component."""
    from holdfast import hub

    component = hub.find(target)
    data = component.to_json()
    if json:
        print_json(data)
        return
    print(f"{component.id} {data['version']} — {data['title']}\n{data.get('description', '')}")
    print(f"uid {data['uid']}, hash {data['hash'][:16]}, in {data['folder']}\n")
    if component.meta.yanked:
        print(f"yanked: {component.meta.yanked}\n")
    if component.kind == "package":
        terms = f"licence: {data.get('license', 'not stated')}"
        print(terms + ("; simulated data" if data.get("simulated") else ""))
        for source in data.get("sources", ()):
            print(f"  {source['url']}\n    sha256 {source.get('sha256', 'not known')}")
        for file in data.get("files", ()):
            print(f"  below HOLDFAST_DATA: {' or '.join(file['names'])}")
        if generate := data.get("generate"):
            print(f"  made by {generate['uses']} with {jsonlib.dumps(generate.get('with', {}))}")
        for requirement in data.get("pip", ()):
            print(f"  {requirement}")
    if data.get("needs"):
        needed = [
            (name, need.get("uses") or f"tags {', '.join(need['tags'])}", need.get("versions"))
            for name, need in data["needs"].items()
        ]
        print_table(("need", "is", "versions"), needed)
    if data.get("fields"):
        print(jsonlib.dumps(data["fields"], indent=2, ensure_ascii=False))
    if data.get("inputs"):
        rows = [
            (
                f"--{name.replace('_', '-')}",
                item["type"],
                jsonlib.dumps(item.get("default")),
                item.get("description"),
            )
            for name, item in data["inputs"].items()
        ]
        print_table(("input", "type", "default", "meaning"), rows)
    if data.get("steps"):
        print()
        print_table(
            ("step", "uses", "does"), [(s["id"], s["uses"], s.get("title", "")) for s in data["steps"]]
        )
    if data.get("outputs"):
        print()
        outputs = [(name, item.get("path", item.get("from"))) for name, item in data["outputs"].items()]
        print_table(("output", "path or origin"), outputs)


def validate(path: Path, json: bool) -> None:
    """Print the problems of a component or repository; raise ComponentError if there are any."""
    from holdfast import hub

    problems = [str(problem) for problem in hub.validate(path)]
    if json and not problems:
        print_json({"path": str(path), "problems": []})
    elif problems:
        raise ComponentError(f"{path} is not valid", got="\n  " + "\n  ".join(problems))
    else:
        print(f"{path}: valid")


def records_of(source: str) -> list[Any]:
    """Records of a folder with records.jsonl, of a records file, or of the latest run of an experiment."""
    from holdfast.core.result import read_records
    from holdfast.hub import store

    path = Path(source)
    if path.is_dir() and (path / "records.jsonl").exists():
        return read_records(path / "records.jsonl")
    if path.is_file():
        return read_records(path)
    stored = store.entries(experiment=source)
    if not stored:
        raise UsageError(
            "records", expected="a folder with records.jsonl or a recorded experiment", got=repr(source)
        )
    newest = max(item.run for item in stored)
    return [item.record for item in stored if item.run == newest]


def report(source: str, out: Path | None, json: bool) -> None:
    """Render a paper, or the report of a folder of records."""
    out = out or Path("report.html")
    if source.startswith("paper:"):
        from holdfast import hub

        hub.paper.write(hub.find(source), out)
    else:
        from holdfast.programs.report import write_report

        write_report(out, records_of(source), title="Hardening report")
    print_json({"report": str(out)}) if json else print(out)


def doctor() -> list[tuple[str, str, str]]:
    """Rows (part, state, detail) about this installation."""
    from holdfast import __version__, kernels
    from holdfast.core import environment, paths

    rows: list[tuple[str, str, str]] = [("holdfast", "ok", __version__)]
    rows += [(name, "ok", version) for name, version in environment.software().items() if name != "holdfast"]
    native = kernels.status()
    rows.append(("native core", "ok" if native["available"] else "absent", str(native["detail"])))
    for extra, module in (
        ("onnx", "onnxruntime"),
        ("quantize", "torchao"),
        ("report", "altair"),
        ("tune", "optuna"),
        ("attacks", "pyautoattack"),
        ("cluster", "distributed"),
        ("crate", "rocrate"),
        ("frames", "pandas"),
        ("trackers", "tensorboard"),
    ):
        from importlib.util import find_spec

        present = find_spec(module) is not None
        rows.append(
            (
                f"extra {extra}",
                "ok" if present else "absent",
                "" if present else f"pip install holdfast[{extra}]",
            )
        )
    machine = environment.machine()
    rows.append(("machine", "ok", f"{machine['processor']}, {machine['cores']} cores"))
    rows.append(("home", "ok" if paths.home().exists() else "not made yet", str(paths.home())))
    roots = paths.data_roots()
    rows.append(("data", "ok" if roots else "not set", ", ".join(map(str, roots)) or "set HOLDFAST_DATA"))
    return rows


def show_plan(path: Path, json: bool) -> None:
    """Print the plans of a file with the reasons."""
    from dataclasses import asdict

    from holdfast.abft import plan as plans

    loaded = plans.load(path)
    if json:
        print_json([{"key": dict(each.key), "layers": [asdict(x) for x in each.layers]} for each in loaded])
        return
    for each in loaded:
        print_lines(each.describe().splitlines())
