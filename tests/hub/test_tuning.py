"""Tuning over exposed choices."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from holdfast.core.errors import UsageError
from holdfast.core.paths import home
from holdfast.core.result import Interval, Record
from holdfast.hub import find, run, store, tune, tuning, tuning_trial
from holdfast.hub.kinds import TuningChoice
from holdfast.hub.points import Until
from holdfast.hub.tuning import Constraint, Repeat
from holdfast.hub.tuning_space import grid_values

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


def quick(monkeypatch, values, interval=None):
    """Replace runs by a function of the choices; return the list of what was run, with ``force``."""
    calls = []

    def run_once(component, inputs, **options):
        calls.append((inputs["x"], options["force"]))
        records = [
            Record(metric=name, value=value, unit="1", direction="lower", interval=interval)
            for name, value in values(inputs["x"], len(calls)).items()
        ]
        return SimpleNamespace(records=records, id=f"run{len(calls)}")

    monkeypatch.setattr(tuning_trial, "run", run_once)
    return calls


def test_a_grid_is_exhausted_once(workflow, monkeypatch):
    quick(monkeypatch, lambda x, _: {"loss": (x - 3) ** 2, "cost": abs(x)})
    study = tune(workflow, GOALS, trials=100, sampler="grid")
    picks = [(trial.choices["x"], trial.choices["p.mode"]) for trial in study.trials]
    # Five of the eleven integers, ends included, with each of the three modes.
    assert sorted(set(picks)) == sorted(picks)
    assert len(picks) == 15
    assert {x for x, _ in picks} >= {-4, 6}


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ({"type": "integer", "low": 2, "high": 4}, [2, 3, 4]),
        ({"type": "number", "low": 0.1, "high": 1000, "log": True}, [0.1, 1, 10, 100, 1000]),
        ({"type": "number", "low": 0, "high": 1}, [0, 0.25, 0.5, 0.75, 1]),
        ({"type": "categorical", "values": ["a", [1]]}, [0, 1]),
    ],
)
def test_grid_values(choice, values):
    assert grid_values(TuningChoice(**choice)) == pytest.approx(values)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_constraints_are_kept_off_the_front_and_recorded(workflow, monkeypatch, sampler):
    quick(monkeypatch, lambda x, _: {"loss": (x - 3) ** 2, "size": 10.0 * x})
    study = tune(
        workflow,
        {"loss": "lower"},
        choices=["x"],
        constraints=["size<=10"],
        trials=12,
        sampler=sampler,
        seed=1,
    )
    violating = [trial for trial in study.trials if trial.violated]
    assert violating
    assert all(trial.choices["x"] > 1 and trial.violated == ("size<=10",) for trial in violating)
    best = max(trial.choices["x"] for trial in study.trials if trial.eligible)
    assert {study.trials[i].choices["x"] for i in study.front.indices} == {best}
    records = store.query(experiment="tune-w", metric="loss")
    assert [r.status for r in records] == ["invalid" if t.violated else "ok" for t in study.trials]
    assert [r.labels["violates"] for r in records] == [", ".join(t.violated) for t in study.trials]


def test_a_constraint_on_what_is_not_measured_fails_the_trial(workflow, monkeypatch):
    quick(monkeypatch, lambda x, _: {"loss": 1.0})
    study = tune(workflow, {"loss": "lower"}, choices=["x"], constraints=["size<1"], trials=2)
    assert {trial.error for trial in study.trials} == {"no value for size"}


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("ms[batch=1] <= 3", 3.0, True),
        ("ms<3", 3.0, False),
        ("auc>=0.9", 0.95, True),
        ("auc > 1e-3", 0.0, False),
    ],
)
def test_constraint(text, value, holds):
    constraint = Constraint.parse(text)
    assert constraint.holds(value) is holds
    assert (constraint.excess(value) <= 0) is holds


@pytest.mark.parametrize("text", ["", "size", "size=3", "size<=big", "<=3", "size[<=3"])
def test_bad_constraints(text):
    with pytest.raises(UsageError):
        Constraint.parse(text)


def test_repetitions_run_anew_and_end_when_the_interval_is_tight(workflow, monkeypatch):
    calls = quick(monkeypatch, lambda x, n: {"loss": 10 + (n % 3 - 1) * 0.01})
    study = tune(workflow, {"loss": "lower"}, choices=["x"], trials=1, repeat=Repeat(3))
    assert [force for _, force in calls] == [False, True, True]
    (trial,) = study.trials
    assert trial.repetitions == 3
    assert trial.values["loss"] == 10
    low, high = trial.intervals["loss"]
    assert (low, high) == (9.99, 10.01)
    calls.clear()
    tune(workflow, {"loss": "lower"}, choices=["x"], trials=1, repeat=Repeat(3, Until(0.05, 50, 60)))
    assert 3 <= len(calls) < 50


def test_repetition_does_not_narrow_the_interval_of_a_record(workflow, monkeypatch):
    own = Interval(low=5, high=15, method="delong")
    quick(monkeypatch, lambda x, n: {"loss": 10.0}, interval=own)
    study = tune(workflow, {"loss": "lower"}, choices=["x"], trials=1, repeat=Repeat(4))
    assert study.trials[0].intervals == {"loss": (5, 15)}


def test_repetitions_within_a_run_become_their_median(workflow, monkeypatch):
    def run_once(component, inputs, **options):
        return SimpleNamespace(
            id="r",
            records=[
                Record(metric="loss", value=v, unit="1", direction="lower", labels={"repetition": i})
                for i, v in enumerate((3.0, 1.0, 2.0))
            ],
        )

    monkeypatch.setattr(tuning_trial, "run", run_once)
    study = tune(workflow, {"loss": "lower"}, choices=["x"], trials=1)
    assert study.trials[0].values == {"loss": 2.0}
    assert study.trials[0].intervals == {"loss": (1.0, 3.0)}


def test_the_front_knows_the_intervals(workflow, monkeypatch):
    own = Interval(low=-100, high=100, method="wide")
    quick(monkeypatch, lambda x, _: {"loss": float(x)}, interval=own)
    study = tune(workflow, {"loss": "lower"}, choices=["x"], trials=4, sampler="grid")
    assert study.front.indices == [0, 1, 2, 3]


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "grid"])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(workflow, monkeypatch, sampler):
    calls = quick(monkeypatch, lambda x, _: {"loss": (x - 3) ** 2, "cost": abs(x)})
    options = {"choices": ["x"], "trials": 14, "seed": 5, "sampler": sampler}
    if sampler == "grid":
        options["trials"] = 5
    whole = [trial.choices for trial in tune(workflow, GOALS, **options).trials]
    calls.clear()

    def stop(trial):
        if trial.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(workflow, GOALS, on_trial=stop, **options)
    assert len(calls) == 4
    again = tune(workflow, GOALS, **options)
    assert len(calls) == len(whole)  # none of the first four ran twice
    assert [trial.choices for trial in again.trials] == whole
    assert not list((home() / "tuning").glob("*"))


def test_a_killed_study_resumes_from_its_journal_even_with_a_torn_line(workflow, monkeypatch):
    calls = quick(monkeypatch, lambda x, _: {"loss": float(x)})
    options = {"choices": ["x"], "trials": 6, "sampler": "random"}

    def stop(trial):
        if trial.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(workflow, {"loss": "lower"}, on_trial=stop, **options)
    (journal,) = (home() / "tuning").glob("*.jsonl")
    journal.write_bytes(journal.read_bytes() + b'{"number": 3, "cho')
    study = tune(workflow, {"loss": "lower"}, **options)
    assert len(calls) == 6
    assert [trial.number for trial in study.trials] == list(range(6))


def test_another_question_has_another_journal(workflow, monkeypatch):
    calls = quick(monkeypatch, lambda x, _: {"loss": float(x)})

    def stop(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(workflow, {"loss": "lower"}, choices=["x"], trials=2, seed=1, on_trial=stop)
    tune(workflow, {"loss": "lower"}, choices=["x"], trials=2, seed=2)
    assert len(calls) == 3


def test_trials_run_side_by_side(workflow, monkeypatch):
    quick(monkeypatch, lambda x, _: {"loss": (x - 3) ** 2})
    with ThreadPoolExecutor(3) as pool:
        study = tune(
            workflow, {"loss": "lower"}, choices=["x"], trials=10, sampler="random", executor=pool, workers=3
        )
    alone = tune(workflow, {"loss": "lower"}, choices=["x"], trials=10, sampler="random")
    assert [trial.number for trial in study.trials] == list(range(10))
    assert [trial.choices for trial in study.trials] == [trial.choices for trial in alone.trials]


def test_the_budget_ends_a_study(workflow, monkeypatch):
    quick(monkeypatch, lambda x, _: {"loss": 1.0})
    clock = iter(range(1000))
    monkeypatch.setattr(tuning, "perf_counter", lambda: float(next(clock)))
    study = tune(workflow, {"loss": "lower"}, choices=["x"], trials=500, budget_s=7)
    assert 1 <= len(study.trials) <= 7


@pytest.mark.slow
def test_trials_in_processes_of_an_executor(workflow):
    from holdfast.hub.executors import executor

    with executor("local", workers=2) as pool:
        study = tune(workflow, GOALS, choices=["x"], trials=4, sampler="random", executor=pool, workers=2)
    assert all(trial.error is None for trial in study.trials)
    assert [t.values["cost"] for t in study.trials] == [abs(t.choices["x"]) for t in study.trials]
