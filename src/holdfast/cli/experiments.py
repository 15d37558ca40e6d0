"""The verbs on what was recorded: query, experiments, replay, export experiment."""

from __future__ import annotations

import csv
import json as jsonlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import arguments
from holdfast.cli.output import number, print_json, print_table
from holdfast.core.errors import UsageError

Name = Annotated[
    str,
    typer.Argument(help="an experiment's name (its newest run), a run id, or a folder", show_default=False),
]
Experiment = Annotated[str | None, typer.Option(help="only this experiment")]
Component = Annotated[str | None, typer.Option(help="only where this kind:name took part")]
Since = Annotated[
    str | None, typer.Option(help="only runs from this time on: 2026-11-21, 2026-11-21T10:00, or 12h, 7d")
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", help="only with this label: NAME=VALUE; may be repeated")
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def query(
    metric: Annotated[str | None, typer.Option(help="only this metric")] = None,
    label: Labels = None,
    experiment: Experiment = None,
    run: Annotated[str | None, typer.Option(help="only the run of this id")] = None,
    component: Component = None,
    status: Annotated[
        str | None, typer.Option(help="only records of this status: ok, failed, crashed, timed out, invalid")
    ] = None,
    since: Since = None,
    newest: Annotated[
        bool, typer.Option("--newest", help="of each experiment only the newest run that has any")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    json: Json = False,
) -> None:
    """Find recorded values in all experiments.

    Example: holdfast query --metric accuracy --label model=vit --newest
    """
    from holdfast.hub import store

    if as_csv and json:
        raise UsageError("query", expected="one of --csv and --json", got="both")
    _tell_problems(store.index())
    rows = list(
        store.flat(
            metric=metric,
            labels=_labels(label or []),
            experiment=experiment,
            run=run,
            component=component,
            status=status,
            since=since,
            newest=newest,
        )
    )
    if json:
        print_json(rows)
    elif as_csv:
        _print_csv(rows, ["experiment", "run", *store.FIELDS])
    else:
        _print_records(rows)


def experiments(
    name: Annotated[str | None, typer.Argument(help="only this experiment")] = None,
    component: Component = None,
    since: Since = None,
    json: Json = False,
) -> None:
    """List what was run: each experiment's runs, the oldest first.

    Example: holdfast experiments egamma-hardened --since 7d
    """
    from holdfast.hub import store

    _tell_problems(store.index())
    found = store.runs(experiment=name, component=component, since=since)
    if json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        print("no experiments", file=sys.stderr)
        return
    rows = [
        (each.component, each.id, each.started.replace("+00:00", ""), each.status, each.records, each.host)
        for each in found
    ]
    print_table(("component", "run", "started (UTC)", "status", "records", "host"), rows)


def replay(
    context: typer.Context,
    experiment: Name,
    margin: Annotated[
        list[str] | None,
        typer.Option(help="METRIC=5% or METRIC=0.01: how far it may be off; may be repeated", metavar="TEXT"),
    ] = None,
    across_platforms: Annotated[
        bool, typer.Option("--across-platforms", help="compare times measured on another platform, too")
    ] = False,
    lock: Annotated[
        Path | None, typer.Option("--lock", help="run only if all is as this holdfast.lock.json says")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML page to write")] = None,
    json: Json = False,
) -> None:
    """Run an experiment again on this machine, without the cache, and say whether it came out the same.

    Ends with exit code 1 unless it was reproduced.

    Example: holdfast replay digits-train --margin accuracy=0.01
    """
    from holdfast import hub
    from holdfast.cli.verbs import _tell
    from holdfast.core.paths import write_bytes
    from holdfast.hub.replaying import PAGE

    answer = hub.replay(
        experiment,
        margins=dict(_pair(text, "--margin", "METRIC=NUMBER or METRIC=5%") for text in margin or []),
        inputs=arguments.parse(context.args),
        across_platforms=across_platforms,
        lock=lock,
        on_event=None if json else _tell,
    )
    assert answer.folder is not None  # a replay that ended is kept
    if out is not None:
        write_bytes(out, (answer.folder / PAGE).read_bytes())
    print_json(answer.to_json()) if json else _print_replay(answer, out)
    if answer.verdict != "reproduced":
        raise typer.Exit(1)


def export_experiment(
    experiment: Name,
    to: Annotated[str, typer.Option(help="csv, parquet or ro-crate", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="what to write", show_default=False)],
    every_run: Annotated[
        bool, typer.Option("--every-run", help="all runs of the component, not only the newest")
    ] = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="ro-crate: put the data into it, not only their hashes")
    ] = False,
    json: Json = False,
) -> None:
    """Write recorded values as a table, or a run with all it used and made as an RO-Crate.

    Example: holdfast export experiment digits-train --to csv -o digits.csv
    """
    from holdfast.hub.exporting import export_experiment as export

    folders = export(experiment, to, out, every_run=every_run, copy=copy)  # type: ignore[arg-type]  # it checks
    if json:
        print_json({"written": str(out), "runs": [folder.name for folder in folders]})
    else:
        print(f"{out}: {len(folders)} run{'' if len(folders) == 1 else 's'}")


def _labels(words: Sequence[str]) -> dict[str, list[Any]]:
    """Labels by name, each with the values that a word may mean: the text, and the JSON value it spells."""
    found = {}
    for word in words:
        name, text = _pair(word, "--label", "NAME=VALUE")
        try:
            value = jsonlib.loads(text)
        except ValueError:
            value = text
        found[name] = [text, value] if isinstance(value, int | float) else [text]
    return found


def _pair(word: str, option: str, expected: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise UsageError(option, expected=expected, got=repr(word))
    return name, value


def _tell_problems(problems: list[str]) -> None:
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)


def _print_csv(rows: list[dict[str, Any]], first: list[str]) -> None:
    labels = sorted({name for row in rows for name in row} - set(first))
    writer = csv.DictWriter(sys.stdout, [*first, *labels], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_records(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("nothing recorded fits", file=sys.stderr)
        return
    cells = []
    for row in rows:
        labels = [f"{name[6:]} {value}" for name, value in row.items() if name.startswith("label.")]
        bounds = "" if row["low"] is None else f" [{row['low']:.4g}, {row['high']:.4g}]"
        value = number(row["value"]) + (f" {row['unit']}" if row["unit"] not in ("", "1") else "") + bounds
        note = "simulated" if row["simulated"] else "" if row["status"] == "ok" else row["status"]
        cells.append((row["experiment"], row["run"], row["metric"], value, ", ".join(labels), note))
    print_table(("experiment", "run", "metric", "value", "labels", ""), cells)


def _print_replay(answer: Any, page: Path | None) -> None:
    if answer.rows:
        rows = [
            (
                " ".join([row.metric, *(f"{name}={value}" for name, value in row.labels.items())]),
                number(row.recorded) + (" simulated" if row.simulated else ""),
                number(row.rerun),
                row.margin,
                row.verdict,
                row.reason,
            )
            for row in answer.rows
        ]
        print_table(("metric", "recorded", "rerun", "margin", "answer", "why"), rows)
    for item in answer.differences:
        print(f"differs: {item.area}: {item.text}")
    if answer.error:
        print(f"the rerun failed: {answer.error}")
    print(f"{answer.verdict}: {answer.component}, run {answer.experiment}")
    print(f"report: {page or answer.folder / 'replay.html'}")
