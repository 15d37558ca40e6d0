"""What was recorded, through ``hub.access``: query, experiments, replay, export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import UsageError

if TYPE_CHECKING:
    from holdfast.hub.accessing import Request

CONDITIONS = ("metric", "labels", "experiment", "run", "component", "status", "since", "newest")


def query(request: Request) -> dict[str, Any]:
    """``records``: those that fit, each with its experiment and run; ``unreadable``: what was left out."""
    from holdfast.hub import store

    unreadable = store.index()
    asked = {name: request.values[name] for name in CONDITIONS if name in request.values}
    found = store.entries(**asked)
    rows = [{"experiment": item.experiment, "run": item.run, **item.record.to_json()} for item in found]
    return {"records": rows, "unreadable": unreadable}


def experiments(request: Request) -> dict[str, Any]:
    """``runs``: what was run, the oldest first; ``unreadable``: what was left out."""
    from holdfast.hub import store

    unreadable = store.index()
    experiment, component = request.get("experiment", str), request.get("component", str)
    runs = store.runs(experiment=experiment, component=component, since=request.get("since", str))
    return {"runs": [{**asdict(run), "folder": str(run.folder)} for run in runs], "unreadable": unreadable}


def replay(request: Request) -> dict[str, Any]:
    """The replay's answer, as ``replay.json`` holds it."""
    from holdfast.hub.replaying import replay as run_again

    answer = run_again(
        _experiment(request),
        margins=request.get("margins", dict, {}),
        inputs=request.get("inputs", dict, {}),
        across_platforms=request.get("across_platforms", bool, False),
        lock=request.path("lock"),
    )
    return answer.to_json()


def export(request: Request) -> dict[str, Any]:
    """``written``, and the ``runs`` that it holds."""
    from holdfast.hub.exporting import export_experiment

    out = request.path("out")
    if out is None:
        raise UsageError("access: out", expected="where to write", got="nothing")
    every_run, copy = request.get("every_run", bool, False), request.get("copy", bool, False)
    to: Any = request.get("to", str, "")
    folders = export_experiment(_experiment(request), to, out, every_run=every_run, copy=copy)
    return {"written": str(out), "runs": [folder.name for folder in folders]}


def _experiment(request: Request) -> str | Path:
    experiment = request.get("experiment", str, "")
    if not experiment:
        raise UsageError("access: experiment", expected="a name, a run id or a folder", got="nothing")
    return str(experiment)
