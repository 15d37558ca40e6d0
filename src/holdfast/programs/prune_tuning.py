"""The automatic choice of how layers share what is kept: short searches, proposed by the hub's tuner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.core.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.hub.frontier import Goal

WORKFLOW = "workflow:prune-proxy"
TRIALS = 12
LIMIT = 4000
"""Events that a short search is trained with, at most."""


def tuned_rates(
    inputs: dict[str, Any], *, limit: int | None = None, trials: int = TRIALS
) -> tuple[str, float]:
    """``p`` and ``tilt`` of the short search that ended most robust, the first of equal ones.

    ``inputs`` are those of the workflow, without the two, and ``limit`` the events at hand, if that is known.
    Every trial is an ordinary run, so that it comes from the cache where it was done before. Raises
    HoldfastError where every trial failed, and what ``hub.tune`` raises.
    """
    from holdfast import hub

    inputs = {**inputs, "limit": LIMIT if limit is None else min(limit, LIMIT)}
    goal: dict[str, Goal] = {"robust_accuracy": "higher"}
    study = hub.tune(WORKFLOW, goal, inputs=inputs, trials=trials, seed=int(inputs["seed"]))
    judged = [(trial.values["robust_accuracy"], trial) for trial in study.trials]
    found = [(value, trial) for value, trial in judged if trial.error is None and value is not None]
    if not found:
        raise HoldfastError(
            "choosing p", expected="a short search that ends", got=study.trials[0].error or "no accuracy"
        )
    _, best = max(found, key=lambda each: each[0])
    return str(best.choices["p"]), float(best.choices["tilt"])
