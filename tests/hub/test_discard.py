"""Early discard: weak candidates go no further than the rung at which they are found out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdfast.core.errors import UsageError
from holdfast.core.result import Record
from holdfast.hub import find, store, tune, tuning_trial
from holdfast.hub.discard import Rungs

GOAL = {"loss": "lower"}
VALUES = (1, 3, 9)


@pytest.fixture
def workflow(toys, monkeypatch):
    """A search for x = 3, in which more epochs bring every x nearer to its own level, |x - 3|."""
    runs = []

    def run(component, inputs, **options):
        runs.append(inputs)
        loss = abs(inputs["x"] - 3) + 1 / inputs["epochs"]
        record = Record(metric="loss", value=loss, unit="1", direction="lower")
        return SimpleNamespace(records=[record], id=f"run{len(runs)}")

    monkeypatch.setattr(tuning_trial, "run", run)
    inputs = {"x": {"type": "number"}, "epochs": {"type": "integer"}}
    toys.program("learning", "def run(out, *, x, epochs): pass", inputs=inputs)
    wired = {name: {"from": f"inputs.{name}"} for name in inputs}
    toys.component(
        "workflow",
        "w",
        inputs={"x": {"type": "number", "default": 0}, "epochs": {"type": "integer", "default": 9}},
        steps=[{"id": "p", "uses": "program:learning", "with": wired}],
        choices={"x": {"type": "integer", "low": -9, "high": 9}},
    )
    found = find("workflow:w")
    return SimpleNamespace(component=found, runs=runs)


@pytest.mark.parametrize("rule", ["halving", "median"])
def test_weak_candidates_are_discarded_and_the_best_is_not(workflow, rule):
    study = tune(
        workflow.component, GOAL, trials=14, seed=2, sampler="random", rungs=Rungs("epochs", VALUES, rule)
    )
    discarded = [trial for trial in study.trials if trial.discarded]
    whole = [trial for trial in study.trials if not trial.discarded]
    assert discarded
    assert whole
    assert {trial.rung for trial in whole} == {9}
    assert {trial.rung for trial in discarded} <= {1, 3}
    # Each has the objective of the rung that it came to, no more.
    for trial in study.trials:
        assert trial.values["loss"] == abs(trial.choices["x"] - 3) + 1 / trial.rung
    best = min(study.trials, key=lambda trial: abs(trial.choices["x"] - 3))
    assert not best.discarded
    assert {study.trials[index].choices["x"] for index in study.front.indices} == {best.choices["x"]}
    records = store.query(experiment="tune-w")
    assert [record.labels["epochs"] for record in records] == [trial.rung for trial in study.trials]
    assert sum(record.labels["discarded"] == "true" for record in records) == len(discarded)


def test_halving_runs_less_than_every_candidate_to_the_end(workflow):
    rungs = Rungs("epochs", VALUES)
    tune(workflow.component, GOAL, trials=12, seed=0, sampler="random", rungs=rungs)
    assert 12 < len(workflow.runs) < 24  # of 36


def test_rungs_are_checked(workflow):
    assert Rungs.parse("max-epochs=1,3,9") == Rungs("max_epochs", VALUES)
    for text in ("epochs", "epochs=3", "epochs=3,2", "epochs=0,2", "epochs=1,x"):
        with pytest.raises(UsageError, match="rungs"):
            Rungs.parse(text)
    with pytest.raises(UsageError, match="halving or median"):
        Rungs("epochs", VALUES, "thirds")
    for rungs, says in (
        (Rungs("steps", VALUES), "one of x, epochs, got steps"),
        (Rungs("x", VALUES), "not searched"),
    ):
        with pytest.raises(UsageError, match=says):
            tune(workflow.component, GOAL, rungs=rungs)
    with pytest.raises(UsageError, match="one objective"):
        tune(workflow.component, {**GOAL, "cost": "lower"}, rungs=Rungs("epochs", VALUES))
