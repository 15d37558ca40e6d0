"""What the verbs of tuning do: search, show the front, pick a point of it and deploy it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.cli.arguments import parse_objectives
from holdfast.cli.output import number, print_json, print_table
from holdfast.cli.verbs import inputs_of
from holdfast.cli.views import records_of


@dataclass(frozen=True)
class Options:
    """What ``holdfast tune`` was told beside the component's own inputs."""

    objectives: Sequence[str]
    trials: int
    seed: int
    sampler: str
    constraints: Sequence[str]
    choices: Sequence[str]
    repetitions: int
    tight: float | None
    budget_s: float | None
    rungs: str | None
    discard: str
    executor: str | None
    workers: int


def tune(target: str, words: Sequence[str], options: Options, json: bool) -> None:
    """Search a workflow's choices and print its front."""
    from holdfast import hub
    from holdfast.hub import executors
    from holdfast.hub.discard import Rungs
    from holdfast.hub.points import Until
    from holdfast.hub.tuning_trial import Repeat

    component = hub.find(target)
    until = None
    if options.tight is not None:
        until = Until(options.tight, max(options.repetitions, 30), options.budget_s or 3600.0)
    repeat = None if options.repetitions == 1 and until is None else Repeat(options.repetitions, until)
    several = options.executor is not None or options.workers > 1
    place = executors.executor(options.executor or "local", workers=options.workers) if several else None
    goals: Any = parse_objectives(options.objectives)
    with place or nullcontext() as pool:
        study = hub.tune(
            component,
            goals,
            inputs=inputs_of(component, words),
            choices=list(options.choices) or None,
            constraints=options.constraints,
            trials=options.trials,
            budget_s=options.budget_s,
            repeat=repeat,
            sampler=options.sampler,
            rungs=None if options.rungs is None else Rungs.parse(options.rungs, options.discard),  # type: ignore[arg-type]  # it checks
            seed=options.seed,
            executor=pool,
            workers=options.workers,
        )
    rows = [_row(trial, index in study.front.indices) for index, trial in enumerate(study.trials)]
    if json:
        print_json({"trials": rows, "experiment": str(study.experiment.folder)})
        return
    cells = [
        (
            row["trial"],
            *(_with_interval(row, name) for name in goals),
            _short(row["error"] or row["violates"]) or _mark(row),
            ", ".join(f"{name} {value}" for name, value in row["choices"].items()),
        )
        for row in rows
    ]
    print_table(("trial", *goals, "front", "choices"), cells)
    goals_again = " ".join(f"--objective {text}" for text in options.objectives)
    print(f"kept: holdfast frontier {study.experiment.component.partition(':')[2]} {goals_again}")


def _short(text: str, most: int = 70) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _row(trial: Any, front: bool) -> dict[str, Any]:
    row = {
        "trial": trial.number,
        "choices": trial.choices,
        "values": trial.values,
        "intervals": trial.intervals,
        "front": front,
        "error": trial.error,
        "violates": ", ".join(trial.violated),
        "run": trial.run,
    }
    return row if trial.rung is None else {**row, "rung": trial.rung, "discarded": trial.discarded}


def _mark(row: Mapping[str, Any]) -> str:
    return f"discarded at {row['rung']}" if row.get("discarded") else "*" * row["front"]


def frontier(
    source: str,
    objectives: Sequence[str],
    by: Sequence[str],
    rule: str | None,
    deploy: Path | None,
    json: bool,
) -> None:
    """Print the front of the records of ``source``; pick by ``rule``, leave a bundle in ``deploy``."""
    from holdfast.core.errors import UsageError
    from holdfast.hub.frontier import in_words
    from holdfast.programs.front import find_front

    if deploy is not None and rule is None:
        raise UsageError("--deploy", expected="a rule", got="none", remedy="say --pick best:METRIC, or knee")
    goals: Any = parse_objectives(objectives)
    records = records_of(source)
    tuned = bool(records) and all("trial" in record.labels for record in records)
    by = by or (["trial"] if tuned else ["model", "protection"])
    found = find_front(records, goals, by)
    picked = None
    if rule is not None:
        from holdfast.hub.picking import pick

        front = [index for index, point in enumerate(found["points"]) if point["on_front"]]
        picked = pick(rule, [point["values"] for point in found["points"]], goals, front)
        found["picked"] = found["points"][picked]
    if deploy is not None:
        from holdfast.hub.deploy import deploy as leave

        labels = found["picked"]["labels"]
        chosen = [r for r in records if all(r.labels.get(name) == value for name, value in labels.items())]
        found["bundle"] = str(leave(chosen, deploy, rule=f"{rule} of {', '.join(objectives)}"))
    if json:
        print_json(found)
        return
    names = list(found["objectives"])
    rows = [
        (
            *point["labels"].values(),
            *(_with_interval(point, name) for name in names),
            "picked" if index == picked else "*" * point["on_front"],
        )
        for index, point in enumerate(found["points"])
    ]
    print_table((*by, *map(in_words, names), "front"), rows)
    if deploy is not None:
        print(f"bundle: {found['bundle']}; run it: python {found['bundle']}/run.py")


def _with_interval(point: Mapping[str, Any], name: str) -> str:
    text = number(point["values"].get(name))
    if name not in point["intervals"]:
        return text
    low, high = point["intervals"][name]
    return f"{text} [{low:.4g}, {high:.4g}]"
