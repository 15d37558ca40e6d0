"""Tuning: Optuna searches a workflow's exposed choices, every trial being an ordinary run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from holdfast.core.errors import HoldfastError, UsageError
from holdfast.core.result import Label, Record
from holdfast.hub import run_record
from holdfast.hub.component import Component, described
from holdfast.hub.discard import Rungs
from holdfast.hub.frontier import Front, Goal, pareto, parse_selector, points_from_records
from holdfast.hub.kinds import TuningChoice, Workflow
from holdfast.hub.repository import find
from holdfast.hub.run_record import Run, RunStatus
from holdfast.hub.runner import OnEvent, run

Sampler = Literal["tpe", "random", "nsga2"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "random", "nsga2")


@dataclass(frozen=True)
class Trial:
    """One point of a search: its choices, the run it was, its objectives, or why it failed.

    ``rung`` is the value of the rungs' input that it came to; one that was ``discarded`` there has the
    objective it had then, and is no point of the front.
    """

    number: int
    choices: dict[str, Any]
    values: dict[str, float | None]
    run: str | None = None
    error: str | None = None
    rung: int | None = None
    discarded: bool = False


@dataclass(frozen=True)
class Study:
    """All trials, the front among them (indices of ``trials``), and the experiment that keeps them."""

    trials: list[Trial]
    front: Front
    experiment: Run


def tune(
    component: Component | str,
    objectives: Mapping[str, Goal],
    *,
    inputs: Mapping[str, Any] | None = None,
    choices: Sequence[str] | None = None,
    trials: int = 20,
    sampler: Sampler = "tpe",
    rungs: Rungs | None = None,
    seed: int = 0,
    on_trial: Callable[[Trial], None] | None = None,
    on_event: OnEvent | None = None,
    project: Path | None = None,
) -> Study:
    """Search the exposed ``choices`` (all by default) of a workflow for the front of ``objectives``.

    Objectives are metric selectors (``latency[batch=1]``), each ``"higher"`` or ``"lower"``. Every trial runs
    through the cache; one that fails, or lacks an objective, is recorded as failed and the search goes on.
    With ``rungs`` (for one objective), candidates run with few resources first, and weak ones go no further.
    The same seed proposes the same points as long as the measured values are the same. Raises UsageError for
    unknown choices, a workflow without any, or a missing Optuna.
    """
    optuna = _optuna()
    found = find(component, project=project) if isinstance(component, str) else component
    exposed = described(found, Workflow).choices
    space = {name: _exposed(exposed, name, found.id) for name in (exposed if choices is None else choices)}
    for name in objectives:
        parse_selector(name)
    pareto([], objectives)
    if not space or trials < 1 or sampler not in SAMPLERS:
        got = f"{len(space)} choices, {trials} trials, sampler {sampler!r}"
        raise UsageError(
            f"tuning {found.id}", expected=f"choices, trials, a sampler of {', '.join(SAMPLERS)}", got=got
        )
    if rungs is not None:
        rungs.check(found.meta.inputs, space, objectives, found.id)
    study = optuna.create_study(
        directions=["maximize" if goal == "higher" else "minimize" for goal in objectives.values()],
        sampler=_sampler(optuna, sampler, seed),
        pruner=optuna.pruners.NopPruner() if rungs is None else rungs.pruner(optuna),
    )
    start = perf_counter()
    done: list[Trial] = []

    def keep(status: RunStatus) -> Run:
        given = dict(inputs or {})
        return _keep(found, done, objectives, seed, given, perf_counter() - start, status, rungs)

    try:
        for _ in range(trials):
            asked = study.ask()
            picked = {name: _suggest(asked, name, choice) for name, choice in space.items()}
            trial = _climb(found, asked, dict(inputs or {}), picked, objectives, rungs, project, on_event)
            if trial.discarded:
                study.tell(asked, state=optuna.trial.TrialState.PRUNED)
            elif trial.error is None:
                study.tell(asked, list(trial.values.values()))
            else:
                study.tell(asked, state=optuna.trial.TrialState.FAIL)
            done.append(trial)
            if on_trial is not None:
                on_trial(trial)
    except KeyboardInterrupt:
        keep("interrupted")
        raise
    points = [dict.fromkeys(objectives) if trial.discarded else trial.values for trial in done]
    return Study(done, pareto(points, objectives), keep("ok"))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            "tuning", expected="Optuna", got="not installed", remedy="pip install holdfast[tune]"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _sampler(optuna: Any, name: Sampler, seed: int) -> Any:
    kinds = {"tpe": "TPESampler", "random": "RandomSampler", "nsga2": "NSGAIISampler"}
    return getattr(optuna.samplers, kinds[name])(seed=seed)


def _exposed(exposed: Mapping[str, TuningChoice], name: str, where: str) -> TuningChoice:
    if name not in exposed:
        known = ", ".join(exposed) or "none"
        raise UsageError(
            f"{where}: unknown choice {name!r}", expected=f"one of {known}", remedy="see holdfast show"
        )
    return exposed[name]


def _suggest(trial: Any, name: str, choice: TuningChoice) -> Any:
    if choice.type == "categorical":
        # Optuna's categories are scalars; positions stand for values of any shape.
        values = choice.values or []
        return values[trial.suggest_categorical(name, list(range(len(values))))]
    low, high = choice.low or 0.0, choice.high or 0.0
    if choice.type == "integer":
        return trial.suggest_int(name, int(low), int(high), log=choice.log)
    return trial.suggest_float(name, low, high, log=choice.log)


def _climb(
    component: Component,
    asked: Any,
    inputs: dict[str, Any],
    picked: dict[str, Any],
    objectives: Mapping[str, Goal],
    rungs: Rungs | None,
    project: Path | None,
    on_event: OnEvent | None,
) -> Trial:
    """One trial, rung by rung where there are rungs."""
    merged = {**inputs, **picked}
    if rungs is None:
        return _trial(component, asked.number, merged, picked, objectives, project, on_event)
    for rung, value in enumerate(rungs.values):
        merged[rungs.name] = value
        trial = _trial(component, asked.number, merged, picked, objectives, project, on_event)
        trial = replace(trial, rung=value)
        (reached,) = trial.values.values()
        if trial.error is not None or reached is None:
            return trial
        if rungs.weak(asked, rung, reached):
            return replace(trial, discarded=True)
    return trial


def _trial(
    component: Component,
    number: int,
    inputs: dict[str, Any],
    picked: dict[str, Any],
    objectives: Mapping[str, Goal],
    project: Path | None,
    on_event: OnEvent | None,
) -> Trial:
    values: dict[str, float | None] = dict.fromkeys(objectives)
    try:
        result = run(component, inputs, on_event=on_event, project=project)
        points = points_from_records(result.records, [], list(objectives))
        values |= points[0].values if points else {}
    except HoldfastError as error:
        return Trial(number, picked, values, error=str(error))
    absent = [name for name, value in values.items() if value is None]
    return Trial(number, picked, values, result.id, f"no value for {', '.join(absent)}" if absent else None)


def _keep(
    component: Component,
    trials: list[Trial],
    objectives: Mapping[str, Goal],
    seed: int,
    inputs: dict[str, Any],
    seconds: float,
    status: RunStatus,
    rungs: Rungs | None,
) -> Run:
    """Keep the trials as an experiment ``tune-<workflow>``: one record a trial and objective."""
    name = f"workflow:tune-{component.name}"
    started = datetime.now(UTC).isoformat(timespec="seconds")
    kept = Run(run_record.new_id(name), name, component.meta.version, component.hash, inputs, started, status)
    kept.seconds = seconds
    for trial in trials:
        labels: dict[str, Label] = {"trial": trial.number, "workflow": component.name}
        labels |= {k: v if isinstance(v, str | int | float) else str(v) for k, v in trial.choices.items()}
        if rungs is not None and trial.rung is not None:
            labels |= {rungs.name: trial.rung, "discarded": str(trial.discarded).lower()}
        kept.records += [
            Record(
                metric=objective,
                value=trial.values[objective],
                unit="",
                direction=goal,
                labels=labels,
                seed=seed,
                status="ok" if trial.error is None else "failed",
                message=trial.error or f"run {trial.run}",
                components={component.id: component.ref},
            )
            for objective, goal in objectives.items()
        ]
    run_record.save(kept)
    return kept
