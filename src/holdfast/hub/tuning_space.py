"""What a search may choose, and the samplers that propose it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np

from holdfast.core.errors import UsageError
from holdfast.hub.frontier import Goal
from holdfast.hub.kinds import TuningChoice
from holdfast.hub.tuning_trial import Constraint, Trial

Sampler = Literal["tpe", "random", "nsga2", "grid"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "random", "nsga2", "grid")
GRID = 5
"""Values that a grid takes from a range, ends included (all of them where there are no more integers)."""
Space = dict[str, TuningChoice]


def space_of(exposed: Mapping[str, TuningChoice], names: Sequence[str] | None, where: str) -> Space:
    """The choices ``names`` (all by default) of those ``exposed``. Raises UsageError for an unknown one."""
    for name in names or ():
        if name not in exposed:
            known = ", ".join(exposed) or "none"
            raise UsageError(
                f"{where}: unknown choice {name!r}", expected=f"one of {known}", remedy="see holdfast show"
            )
    return {name: exposed[name] for name in (exposed if names is None else names)}


def grid_values(choice: TuningChoice) -> list[Any]:
    """The values of a choice on a grid; positions for a categorical one."""
    if choice.type == "categorical":
        return list(range(len(choice.values or [])))
    low, high = choice.low or 0.0, choice.high or 0.0
    if choice.type == "integer" and high - low < GRID:
        return list(range(int(low), int(high) + 1))
    spread = np.geomspace if choice.log else np.linspace
    values = [float(value) for value in spread(low, high, GRID)]
    values[0], values[-1] = low, high  # rounding must not leave the range
    return sorted({round(value) for value in values}) if choice.type == "integer" else values


class Proposals:
    """Proposes points by an Optuna sampler and learns what became of them.

    Optuna's categories are scalars, so positions stand for values of any shape. Without Optuna installed:
    UsageError.
    """

    def __init__(
        self,
        space: Space,
        objectives: Mapping[str, Goal],
        sampler: Sampler,
        seed: int,
        constraints: Sequence[Constraint] = (),
        pruner: Any = None,
    ) -> None:
        self.optuna = _optuna()
        self.space, self.constraints = space, constraints
        self.size = None
        self._cells: Iterator[tuple[Any, ...]] | None = None
        if sampler == "grid":
            axes = [grid_values(choice) for choice in space.values()]
            self.size = int(np.prod([len(axis) for axis in axes]))
            self._cells = product(*axes)
        self.study = self.optuna.create_study(
            directions=["maximize" if goal == "higher" else "minimize" for goal in objectives.values()],
            sampler=self._sampler(sampler, seed),
            pruner=self.optuna.pruners.NopPruner() if pruner is None else pruner(self.optuna),
        )

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """The next point: Optuna's trial, and the value of each choice."""
        if self._cells is not None:
            self.study.enqueue_trial(dict(zip(self.space, next(self._cells), strict=True)))
        asked = self.study.ask()
        return asked, {name: _suggest(asked, name, choice) for name, choice in self.space.items()}

    def tell(self, asked: Any, trial: Trial) -> None:
        """Let the sampler know how ``trial`` ended."""
        state = self.optuna.trial.TrialState
        if trial.error is None and not trial.discarded and self.constraints:
            excess = [item.excess(trial.limited[item.metric] or 0.0) for item in self.constraints]
            if hasattr(asked, "set_constraint"):
                for item, value in zip(self.constraints, excess, strict=True):
                    asked.set_constraint(str(item), value)
            else:
                asked.set_user_attr("constraints", excess)
        if trial.discarded:
            self.study.tell(asked, state=state.PRUNED)
        elif trial.error is not None:
            self.study.tell(asked, state=state.FAIL)
        else:
            self.study.tell(asked, list(trial.values.values()))

    def _sampler(self, name: Sampler, seed: int) -> Any:
        samplers = self.optuna.samplers
        options: dict[str, Any] = {"seed": seed}
        old = not hasattr(self.optuna.trial.Trial, "set_constraint")  # Optuna before 5
        if old and self.constraints and name in ("tpe", "nsga2"):
            options["constraints_func"] = lambda trial: trial.user_attrs.get("constraints", ())
        kinds = {"tpe": samplers.TPESampler, "nsga2": samplers.NSGAIISampler}
        return kinds.get(name, samplers.RandomSampler)(**options)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            "tuning", expected="Optuna", got="not installed", remedy="pip install holdfast[tune]"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _suggest(asked: Any, name: str, choice: TuningChoice) -> Any:
    if choice.type == "categorical":
        values = choice.values or []
        return values[asked.suggest_categorical(name, list(range(len(values))))]
    low, high = choice.low or 0.0, choice.high or 0.0
    if choice.type == "integer":
        return asked.suggest_int(name, int(low), int(high), log=choice.log)
    return asked.suggest_float(name, low, high, log=choice.log)
