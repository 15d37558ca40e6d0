"""Tuning over exposed choices."""

from __future__ import annotations

import sys

import pytest

from holdfast.core.errors import UsageError
from holdfast.hub import find, run, store, tune

PARABOLA = """
    from holdfast.core.result import Record, write_records

    def run(out, *, x, mode):
        if mode == "crash":
            raise ValueError("crash")
        values = {"loss": (x - 3) ** 2, "cost": abs(x)}
        if mode == "silent":
            values.pop("cost")
        write_records(out / "records.jsonl", [
            Record(metric=name, value=value, unit="1", direction="lower") for name, value in values.items()
        ])
"""
GOALS = {"loss": "lower", "cost": "lower"}


@pytest.fixture
def workflow(toys):
    inputs = {"x": {"type": "number"}, "mode": {"type": "string", "default": "good"}}
    toys.program("parabola", PARABOLA, inputs=inputs)
    steps = [{"id": "p", "uses": "program:parabola", "with": {"x": {"from": "inputs.x"}}}]
    choices = {
        "x": {"type": "integer", "low": -4, "high": 6},
        "p.mode": {"type": "categorical", "values": ["good", "crash", "silent"]},
    }
    toys.component(
        "workflow", "w", inputs={"x": {"type": "number", "default": 0}}, steps=steps, choices=choices
    )
    return find("workflow:w")


def test_the_front_is_that_of_the_trials_and_everything_is_recorded(workflow):
    study = tune(workflow, GOALS, trials=12, seed=1, sampler="random")
    failed = [trial for trial in study.trials if trial.error]
    assert failed, "the seed was chosen so that some trials fail"
    assert len(failed) < 12
    for index in study.front.indices:
        assert 0 <= study.trials[index].choices["x"] <= 3
    records = store.query(experiment="tune-w")
    assert len(records) == 24
    assert sum(record.status == "failed" for record in records) == 2 * len(failed)
    by_trial = {(record.labels["trial"], record.metric): record for record in records}
    for trial in study.trials:
        for name, value in trial.values.items():
            assert by_trial[trial.number, name].value == value
            assert by_trial[trial.number, name].labels["x"] == trial.choices["x"]
    silent = [trial for trial in failed if trial.choices["p.mode"] == "silent"]
    assert all(trial.error == "no value for cost" for trial in silent)


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_the_same_seed_proposes_the_same(workflow, sampler):
    def picks(seed):
        study = tune(workflow, GOALS, choices=["x"], trials=5, seed=seed, sampler=sampler)
        return [trial.choices for trial in study.trials]

    assert picks(3) == picks(3)


def test_trials_use_the_cache(workflow):
    run(workflow, {"x": 2})
    events = []
    tune(workflow, GOALS, choices=["x"], trials=4, on_event=events.append)
    again = []
    tune(workflow, GOALS, choices=["x"], trials=4, on_event=again.append)
    assert [event.kind for event in again if event.kind != "start"] == ["hit"] * 4


def test_interrupted_the_trials_so_far_are_kept(workflow):
    def stop(trial):
        if trial.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(workflow, GOALS, choices=["x"], trials=9, on_trial=stop)
    assert len(store.query(experiment="tune-w", metric="loss")) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"choices": ["zzz"]}, "unknown choice 'zzz': expected one of x, p.mode"),
        ({"trials": 0}, "0 trials"),
        ({"sampler": "magic"}, "a sampler of tpe, random, nsga2, grid"),
        ({"objectives": {}}, "at least one objective"),
        ({"objectives": {"loss": "down"}}, "higher or lower"),
    ],
)
def test_bad_calls(workflow, options, message):
    with pytest.raises(UsageError, match=message):
        tune(workflow, **{"objectives": GOALS, "trials": 1} | options)


def test_without_optuna_the_remedy_is_named(workflow, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install holdfast\[tune\]"):
        tune(workflow, GOALS)
