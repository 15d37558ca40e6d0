"""Options and verbs of workflows: settings of steps, where steps run, and the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli.output import print_json
from holdfast.core.errors import UsageError

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="STEP.INPUT=VALUE: set the input of a step; may be repeated", metavar="TEXT"),
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="steps that may run at the same time (default: one)", min=1)
]
ExecutorName = Annotated[
    str | None,
    typer.Option("--executor", help="where steps run: local, dask, dask:tcp://HOST:PORT", metavar="NAME"),
]


def settings(words: Sequence[str] | None) -> dict[str, str]:
    """Input values by ``step.input`` from words ``STEP.INPUT=VALUE``. Raises UsageError."""
    found = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not equals or not all(name.partition(".")):
            raise UsageError("--set", expected="STEP.INPUT=VALUE", got=repr(word))
        found[name] = value
    return found


@contextmanager
def where(name: str | None, workers: int | None) -> Iterator[dict[str, Any]]:
    """The arguments of ``hub.run`` that say where steps run; ``local`` are processes of this machine."""
    from holdfast.core import environment
    from holdfast.hub import executors

    if name is None or name == "local":
        yield {"workers": workers or (environment.cores() if name else None)}
        return
    with executors.executor(name, workers=workers) as pool:
        yield {"workers": workers, "executor": pool}


def own_inputs(component: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``given`` that ``component`` declares as inputs: campaigns spread their trials themselves."""
    return {
        name: str(value) for name, value in given.items() if value is not None and name in component.inputs
    }


def graph(
    target: Annotated[
        str, typer.Argument(help="workflow:name, or a workflow's file", metavar="TARGET", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="SVG file to write")] = None,
    text: Annotated[bool, typer.Option("--text", help="print a line a step instead")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Draw a workflow's steps, coloured by what the last run did with them.

    Example: holdfast graph workflow:egamma-hardened -o graph.svg
    """
    from holdfast.core.paths import write_text
    from holdfast.hub import graph as graphs
    from holdfast.hub.run_record import History
    from holdfast.hub.workflow import load
    from holdfast.hub.workflow_file import locate

    plan = load(locate(target))
    last = History(plan.component.id).last()
    statuses = {step["id"]: step["status"] for step in last["steps"]} if last else {}
    if json:
        boxes = graphs.boxes(plan, statuses)
        rows = [
            {"step": box.id, "needs": box.needs, "layer": box.layer, "status": box.status} for box in boxes
        ]
        print_json({"component": plan.component.id, "run": last["id"] if last else None, "steps": rows})
    elif text or out is None:
        print(graphs.text(plan, statuses))
    if out is not None:
        write_text(out, graphs.svg(plan, statuses))
        if not (text or json):
            print(f"{out}: {len(plan.steps)} steps" + (f", as run {last['id']} left them" if last else ""))
