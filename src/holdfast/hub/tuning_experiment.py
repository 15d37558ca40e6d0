"""What a study leaves: an experiment ``tune-<workflow>`` with one record a trial and objective."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from holdfast.core.result import Interval, Label, Record
from holdfast.hub import run_record
from holdfast.hub.discard import Rungs
from holdfast.hub.run_record import Run, RunStatus
from holdfast.hub.tuning_trial import Task, Trial


def keep(
    task: Task, trials: Sequence[Trial], seed: int, seconds: float, status: RunStatus, rungs: Rungs | None
) -> Run:
    """Keep the trials as an experiment; its inputs are those that all of them share."""
    component = task.component
    name = f"workflow:tune-{component.name}"
    started = datetime.now(UTC).isoformat(timespec="seconds")
    kept = Run(
        run_record.new_id(name),
        name,
        component.meta.version,
        component.hash,
        dict(task.inputs),
        started,
        status,
        seconds=seconds,
    )
    for trial in trials:
        kept.records += _records(task, trial, seed, rungs)
    run_record.save(kept)
    return kept


def _records(task: Task, trial: Trial, seed: int, rungs: Rungs | None) -> list[Record]:
    labels: dict[str, Label] = {"trial": trial.number, "workflow": task.component.name}
    labels |= {name: as_label(value) for name, value in trial.choices.items()}
    if rungs is not None and trial.rung is not None:
        labels |= {rungs.name: trial.rung, "discarded": str(trial.discarded).lower()}
    if trial.run is not None:
        labels["run"] = trial.run
    if task.constraints and trial.error is None:
        labels["violates"] = ", ".join(trial.violated)
    return [
        Record(
            metric=objective,
            value=trial.values[objective],
            unit="",
            direction=goal,
            n=trial.repetitions,
            interval=_interval(trial, objective),
            labels=labels,
            seed=seed,
            status="failed" if trial.error is not None else "invalid" if trial.violated else "ok",
            message=trial.error or f"run {trial.run}",
            components={task.component.id: task.component.ref},
        )
        for objective, goal in task.objectives.items()
    ]


def _interval(trial: Trial, objective: str) -> Interval | None:
    value = trial.values[objective]
    if objective not in trial.intervals or value is None:
        return None
    low, high = trial.intervals[objective]
    return Interval(low=low, high=high, method="median of repetitions, or the record's own")


def as_label(value: Any) -> Label:
    """A choice as a record's label: what is no scalar becomes JSON."""
    return value if isinstance(value, str | int | float) else json.dumps(value)
