"""Tuning: a search over a workflow's exposed choices, every trial being an ordinary run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.hub.component import Component, described
from holdfast.hub.discard import Rungs
from holdfast.hub.frontier import Front, Goal, pareto, parse_selector
from holdfast.hub.kinds import Workflow
from holdfast.hub.repository import find
from holdfast.hub.run_record import Run
from holdfast.hub.runner import OnEvent
from holdfast.hub.tuning_experiment import keep
from holdfast.hub.tuning_journal import Journal
from holdfast.hub.tuning_space import SAMPLERS, Proposals, Sampler, Space, space_of
from holdfast.hub.tuning_trial import Constraint, Repeat, Task, Trial, run_trial
from holdfast.hub.workflow import load

__all__ = ["Constraint", "Repeat", "Study", "Trial", "tune"]


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
    constraints: Sequence[Constraint | str] = (),
    trials: int = 20,
    budget_s: float | None = None,
    repeat: Repeat | None = None,
    sampler: Sampler = "tpe",
    rungs: Rungs | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    workers: int = 1,
    on_trial: Callable[[Trial], None] | None = None,
    on_event: OnEvent | None = None,
    project: Path | None = None,
) -> Study:
    """Search the exposed ``choices`` (all by default) of a workflow for the front of ``objectives``.

    Objectives are metric selectors (``latency[batch=1]``), each ``"higher"`` or ``"lower"``. A trial that
    fails, or lacks a metric, is recorded as failed, one that breaks a constraint as such, and the search goes
    on: for ``trials``, for ``budget_s`` seconds (trials under way are waited for), or until a grid is
    exhausted. A trial is run once, from the cache where it can, or as often as ``repeat`` says. With
    ``rungs`` (for one objective), candidates run with few resources first, and weak ones go no further.

    With an ``executor``, ``workers`` trials run at a time; they disturb each other's clocks if they share a
    machine. One at a time, the same seed proposes the same points as long as the measured values are the
    same, and a study that was interrupted, called again, goes on exactly where it was.

    Raises UsageError for unknown choices, a workflow without any, or a missing Optuna.
    """
    found = find(component, project=project) if isinstance(component, str) else component
    space = space_of(described(found, Workflow).choices, choices, found.id)
    limits = tuple(Constraint.parse(item) if isinstance(item, str) else item for item in constraints)
    for name in objectives:
        parse_selector(name)
    pareto([], objectives)
    if not space or trials < 1 or sampler not in SAMPLERS or workers < 1:
        got = f"{len(space)} choices, {trials} trials, sampler {sampler!r}, {workers} workers"
        raise UsageError(
            f"tuning {found.id}", expected=f"choices, trials, a sampler of {', '.join(SAMPLERS)}", got=got
        )
    if rungs is not None:
        rungs.check(found.meta.inputs, space, objectives, found.id)
        if workers > 1 or repeat is not None:
            raise UsageError(
                f"rungs of {found.id}", expected="one worker and no repetitions", remedy="leave one out"
            )
    task = Task(found, dict(inputs or {}), objectives, limits, repeat or Repeat(), project)
    proposals = Proposals(space, objectives, sampler, seed, limits, None if rungs is None else rungs.pruner)
    journal = Journal(found.name, _question(task, space, sampler, seed, rungs))
    search = _Search(task, proposals, journal, rungs, executor, workers, on_trial, on_event)
    try:
        search.go(trials if proposals.size is None else min(trials, proposals.size), budget_s)
    except KeyboardInterrupt:
        keep(task, search.done, seed, search.seconds, "interrupted", rungs)
        journal.close(ended=False)
        raise
    done = sorted(search.done, key=lambda trial: trial.number)
    points = [trial.values if trial.eligible else dict.fromkeys(objectives) for trial in done]
    front = pareto(points, objectives, [trial.intervals for trial in done])
    experiment = keep(task, done, seed, search.seconds, "ok", rungs)
    journal.close(ended=True)
    return Study(done, front, experiment)


def _question(task: Task, space: Space, sampler: str, seed: int, rungs: Rungs | None) -> dict[str, Any]:
    """Everything that makes a study this study: with any other value, its journal is another one."""
    plan = load(task.component, project=task.project)
    return {
        "components": {step.program.id: step.program.hash for step in plan.steps} | {"": task.component.hash},
        "inputs": {name: str(value) for name, value in task.inputs.items()},
        "objectives": list(task.objectives.items()),
        "constraints": list(map(str, task.constraints)),
        "repeat": str(task.repeat),
        "space": [[name, choice.model_dump(mode="json")] for name, choice in space.items()],
        "sampler": [sampler, seed, str(rungs)],
    }


class _Search:
    """The loop that asks for points, has them run, and tells how they ended."""

    def __init__(
        self,
        task: Task,
        proposals: Proposals,
        journal: Journal,
        rungs: Rungs | None,
        executor: Executor | None,
        workers: int,
        on_trial: Callable[[Trial], None] | None,
        on_event: OnEvent | None,
    ) -> None:
        self.task, self.proposals, self.journal, self.rungs = task, proposals, journal, rungs
        self.executor, self.workers = executor, workers
        self.on_trial, self.on_event = on_trial, on_event
        self.done: list[Trial] = []
        self.start = perf_counter()
        # With an executor trials end in no order of their own; by number, each meets the point it was.
        self.kept = {trial.number: trial for trial in journal.read()}

    @property
    def seconds(self) -> float:
        return perf_counter() - self.start

    def go(self, trials: int, budget_s: float | None) -> None:
        running: dict[Future[Trial], Any] = {}
        number = 0
        try:
            while number < trials or running:
                more = number < trials and (budget_s is None or self.seconds < budget_s)
                if not more and not running:
                    return
                if more and len(running) < (self.workers if self.executor is not None else 1):
                    asked, picked = self.proposals.ask()
                    kept = self.kept.get(number)
                    if kept is not None and kept.choices == picked:
                        self._climbed(asked, kept)
                        self._end(asked, kept, new=False)
                    elif self.executor is None:
                        self._end(asked, self._climb(asked, number, picked))
                    else:
                        running[self.executor.submit(run_trial, self.task, number, picked)] = asked
                    number += 1
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._end(running.pop(future), future.result())
        finally:
            for future in running:
                future.cancel()

    def _end(self, asked: Any, trial: Trial, *, new: bool = True) -> None:
        self.proposals.tell(asked, trial)
        self.done.append(trial)
        if new:
            self.journal.add(trial)
        if self.on_trial is not None:
            self.on_trial(trial)

    def _climb(self, asked: Any, number: int, picked: dict[str, Any]) -> Trial:
        """One trial, rung by rung where there are rungs."""
        if self.rungs is None:
            return run_trial(self.task, number, picked, self.on_event)
        for rung, value in enumerate(self.rungs.values):
            task = replace(self.task, inputs={**self.task.inputs, self.rungs.name: value})
            trial = replace(run_trial(task, number, picked, self.on_event), rung=value)
            (reached,) = trial.values.values()
            if trial.error is not None or reached is None:
                return trial
            if self.rungs.weak(asked, rung, reached):
                return replace(trial, discarded=True)
        return trial

    def _climbed(self, asked: Any, trial: Trial) -> None:
        """Report the rungs of a trial of the journal: those below its own are in the cache."""
        if self.rungs is not None:
            self._climb(asked, trial.number, trial.choices)
