"""Learning good choices from cases, where it can help and where it cannot."""

from __future__ import annotations

import random

import pytest

from holdfast.core.errors import UsageError
from holdfast.core.result import Record
from holdfast.hub import find, tune
from holdfast.hub.learning import MODELS, Experience, Predictor, experiences, leave_one_out


def cases(count, rule, noise=0.01):
    """``rule(x, choice)`` is the time of a case with the feature x."""
    rng = random.Random(0)
    found = []
    for case in range(count):
        x = case / count
        for unroll in (1, 2, 4):
            for vector in (False, True):
                value = (1 + case) * rule(x, unroll, vector) * rng.gauss(1, noise)
                choices = {"unroll": unroll, "vector": vector}
                found.append(Experience(f"case {case}", {"x": x, "const": 1.0}, choices, value))
    return found


def told_by_feature(x, unroll, vector):
    return (0.5 if vector == (x > 0.5) else 1.0) * (1 + 0.05 * unroll)


def test_a_feature_that_tells_is_learned_and_beats_the_average():
    judged = leave_one_out(cases(16, told_by_feature), models=["tree"])
    assert "tree" in judged.helps
    # A tree errs where the feature changes sides, since that case was left out.
    assert judged.regrets["tree"].mean < judged.regrets["average"].mean / 2
    assert (
        judged.regrets["search 1"].mean > judged.regrets["search 4"].mean > judged.regrets["search 16"].mean
    )
    assert judged.regrets["search 16"].mean == 0


def test_where_no_feature_tells_nothing_is_said_to_help():
    judged = leave_one_out(cases(5, lambda x, unroll, vector: (0.5 if vector else 1.0) * unroll))
    assert judged.helps == ()
    assert judged.regrets["average"].mean < 0.05


def test_search_regret_is_the_expected_minimum():
    own = [Experience("a", {}, {"c": i}, value) for i, value in enumerate([1.0, 2.0, 4.0])]
    others = [Experience(name, {}, {"c": i}, 1.0) for name in "bc" for i in range(3)]
    judged = leave_one_out([*own, *others], budgets=(1, 2))
    assert judged.regrets["search 1"].each["a"] == pytest.approx((0 + 1 + 3) / 3)
    assert judged.regrets["search 2"].each["a"] == pytest.approx((0 + 0 + 1) / 3)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_predicts_a_point_that_was_seen(model):
    seen = cases(8, told_by_feature)
    predictor = Predictor(seen, model)
    assert predictor.predict({"x": 0.9, "const": 1.0}) in predictor.candidates


def test_higher_is_better_where_it_is_the_goal():
    seen = [Experience(case, {}, {"c": c}, value) for case in "abcd" for c, value in ((0, 1.0), (1, 3.0))]
    assert Predictor(seen, "tree", goal="higher").predict({}) == {"c": 1}
    assert Predictor(seen, "tree", goal="lower").predict({}) == {"c": 0}


def test_bad_experience():
    with pytest.raises(UsageError, match="above zero"):
        leave_one_out([Experience("a", {}, {}, 0.0)])
    with pytest.raises(UsageError, match="three cases"):
        leave_one_out(cases(2, told_by_feature))
    with pytest.raises(UsageError, match="one of tree"):
        Predictor(cases(3, told_by_feature), "forest")


def test_the_store_teaches(toys, monkeypatch):
    from types import SimpleNamespace

    from holdfast.hub import tuning_trial

    def run(component, inputs, **options):
        value = inputs["n"] * (1 + inputs["x"])
        return SimpleNamespace(
            records=[Record(metric="ms", value=value, unit="ms", direction="lower")], id=f"r{inputs['n']}"
        )

    monkeypatch.setattr(tuning_trial, "run", run)
    inputs = {"x": {"type": "integer"}, "n": {"type": "integer", "default": 1}}
    toys.program("p", "def run(out, *, x, n): pass", inputs=inputs)
    wires = {name: {"from": f"inputs.{name}"} for name in inputs}
    toys.component(
        "workflow",
        "w",
        inputs={"x": {"type": "integer", "default": 0}, "n": {"type": "integer", "default": 1}},
        steps=[{"id": "p", "uses": "program:p", "with": wires}],
        choices={"x": {"type": "integer", "low": 0, "high": 2}},
    )
    for n in (1, 2, 3):
        tune(find("workflow:w"), {"ms": "lower"}, inputs={"n": n}, sampler="grid")
    found = experiences("tune-w", "ms", ["x"])
    assert len(found) == 9
    assert {(item.features["n"], item.choices["x"], item.value) for item in found} == {
        (n, x, n * (1 + x)) for n in (1, 2, 3) for x in (0, 1, 2)
    }
    assert Predictor(found, "neighbours").predict({"n": 9}) == {"x": 0}
