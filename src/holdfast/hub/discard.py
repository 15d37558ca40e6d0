"""Early discard: candidates of a search are run with few resources first, and weak ones go no further."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from holdfast.core.errors import UsageError

Rule = Literal["halving", "median"]
RULES: tuple[Rule, ...] = ("halving", "median")


@dataclass(frozen=True)
class Rungs:
    """The workflow input ``name`` takes ``values``, ascending; what a candidate has reached at one of them
    decides whether it is run at the next.

    ``halving`` keeps the best 1 in η that have come to a rung, η being the ratio of the second value to
    the first (asynchronous successive halving, Li et al., MLSys 2020); ``median`` those at least as good
    as the median of what others had there, from the fifth candidate on. Each rung is a run of its own,
    from the start, since a schedule depends on its length; with η >= 2 that costs at most twice the last
    rung.
    """

    name: str
    values: tuple[int, ...]
    rule: Rule = "halving"

    def __post_init__(self) -> None:
        values = self.values
        if len(values) < 2 or values[0] < 1 or any(a >= b for a, b in pairwise(values)):
            raise UsageError("rungs", expected="at least two ascending integers >= 1", got=list(values))
        if self.rule not in RULES:
            raise UsageError("discarding", expected=" or ".join(RULES), got=repr(self.rule))

    @classmethod
    def parse(cls, text: str, rule: Rule = "halving") -> Rungs:
        """From ``name=1,3,9``. Raises UsageError."""
        name, _, values = text.partition("=")
        try:
            return cls(name.strip().replace("-", "_"), tuple(int(value) for value in values.split(",")), rule)
        except ValueError as error:
            raise UsageError("rungs", expected="INPUT=1,3,9", got=repr(text)) from error

    @property
    def factor(self) -> int:
        """η."""
        return max(2, self.values[1] // self.values[0])

    def pruner(self, optuna: Any) -> Any:
        """Optuna's pruner of the rule, for reports at the steps 1, η, η², …, whatever the values are."""
        if self.rule == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4)
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=self.factor)

    def weak(self, trial: Any, rung: int, value: float) -> bool:
        """Whether ``trial``, which has reached ``value`` at ``rung`` (from 0), goes no further."""
        trial.report(value, step=self.factor**rung)
        return rung + 1 < len(self.values) and bool(trial.should_prune())

    def check(self, inputs: Any, choices: Any, objectives: Any, where: str) -> None:
        """Raise UsageError unless the workflow ``where`` has the input, free, and there is one objective."""
        if self.name not in inputs:
            raise UsageError(f"rungs of {where}", expected=f"one of {', '.join(inputs)}", got=self.name)
        if self.name in choices:
            raise UsageError(
                f"rungs of {where}", expected="an input that is not searched itself", got=self.name
            )
        if len(objectives) != 1:
            raise UsageError(f"rungs of {where}", expected="one objective", got=len(objectives))
