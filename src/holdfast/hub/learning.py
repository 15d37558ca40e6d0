"""Learning from the store: which choices are good for a program, shape or machine that was never searched."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import UsageError
from holdfast.core.result import Interval
from holdfast.core.stats import bootstrap
from holdfast.hub.frontier import Goal

Model = Literal["tree", "neighbours", "svm", "network"]
MODELS: tuple[Model, ...] = ("tree", "neighbours", "svm", "network")


@dataclass(frozen=True)
class Experience:
    """One measured point: which ``case`` (program, shape, machine), its features, its choices, its value."""

    case: str
    features: Mapping[str, float]
    choices: Mapping[str, Any]
    value: float


@dataclass(frozen=True)
class Regret:
    """How much worse than the best point found by search, averaged over cases: 0.1 is 10 % worse.

    ``each`` is by case; ``interval`` is the bootstrap interval of the mean over cases.
    """

    mean: float
    interval: Interval
    each: dict[str, float]


@dataclass(frozen=True)
class Judgement:
    """Regrets of each way to choose, leaving out one case at a time, and whether learning helps.

    Ways: each learned model; "average", the choice that is best over the other cases and knows no feature;
    "search 1", "search 4" …, the best of that many random trials on the case itself (expected value). A model
    is in ``helps`` if its regret is below that of "average" in every part of the paired 95 % interval.
    """

    regrets: dict[str, Regret]
    gains: dict[str, Interval]
    helps: tuple[str, ...]


def experiences(
    experiment: str, objective: str, choices: Sequence[str], *, features: Sequence[str] = ()
) -> list[Experience]:
    """What the studies kept as ``experiment`` (``tune-NAME``) have measured of ``objective``.

    A case is one combination of the inputs that a study was given. Its features are those inputs that are
    numbers, and the metrics ``features`` that its runs recorded. Failed trials teach nothing here, and a
    point that several studies of a case measured counts once, by its median.
    """
    from holdfast.hub import run_record, store

    kept = store.entries(experiment=experiment, metric=objective)
    cases: dict[str, dict[str, Any]] = {}
    for name in {item.run for item in kept}:
        file = run_record.experiments() / experiment / name / "run.json"
        cases[name] = json.loads(file.read_text(encoding="utf-8"))["inputs"]
    measured: dict[str, dict[str, float]] = {}
    found: dict[tuple[str, str], list[Experience]] = defaultdict(list)
    for item in kept:
        record, case = item.record, _text(cases[item.run])
        run = str(record.labels.get("run", ""))
        if record.status != "ok" or record.value is None or not run:
            continue
        if case not in measured:
            records = [each for name in features for each in store.query(run=run, metric=name)]
            measured[case] = {each.metric: each.value for each in records if each.value is not None}
            inputs = cases[item.run].items()
            measured[case] |= {k: float(v) for k, v in inputs if isinstance(v, int | float)}
        picked = {name: record.labels[name] for name in choices if name in record.labels}
        found[case, _text(picked)].append(Experience(case, measured[case], picked, record.value))
    return [
        replace(group[0], value=float(np.median([item.value for item in group]))) for group in found.values()
    ]


class Predictor:
    """A model of how good choices are, relative to the mean of their case, from features and choices."""

    def __init__(
        self, experiences: Sequence[Experience], model: Model, *, goal: Goal = "lower", seed: int = 0
    ):
        if model not in MODELS:
            raise UsageError("model", expected=f"one of {', '.join(MODELS)}", got=repr(model))
        if len({item.case for item in experiences}) < 2:
            raise UsageError("learning", expected="experience of at least two cases", got=len(experiences))
        self.candidates = _distinct(item.choices for item in experiences)
        self._features = sorted({name for item in experiences for name in item.features})
        self._values = {
            name: sorted({_text(item.choices.get(name)) for item in experiences})
            for name in sorted({name for item in experiences for name in item.choices})
        }
        rows = np.stack([self._row(item.features, item.choices) for item in experiences])
        self._regressor = _regressor(model, seed)
        self._regressor.fit(rows, _relative(experiences, goal))

    def predict(self, features: Mapping[str, float]) -> dict[str, Any]:
        """The candidate (a combination of choices seen before) expected to be best for ``features``."""
        rows = np.stack([self._row(features, choices) for choices in self.candidates])
        return self.candidates[int(np.argmin(self._regressor.predict(rows)))]

    def _row(self, features: Mapping[str, float], choices: Mapping[str, Any]) -> NDArray[np.float64]:
        own = [float(features.get(name, 0.0)) for name in self._features]
        for name, values in self._values.items():
            own += [float(_text(choices.get(name)) == value) for value in values]
        return np.array(own)


def leave_one_out(
    experiences: Sequence[Experience],
    *,
    goal: Goal = "lower",
    seed: int = 0,
    models: Sequence[Model] = MODELS,
    budgets: Sequence[int] = (1, 4, 16),
) -> Judgement:
    """Regret of each way to choose for a case that was left out of the learning, over all cases.

    Only choices that were measured in the case can be judged; a way's proposal is its best-ranked one among
    them. Values must be above zero. Raises UsageError for fewer than three cases.
    """
    by_case: dict[str, list[Experience]] = defaultdict(list)
    for item in experiences:
        if not item.value > 0:
            raise UsageError("learning", expected="values above zero", got=item.value)
        by_case[item.case].append(item)
    if len(by_case) < 3:
        raise UsageError("learning", expected="at least three cases", got=len(by_case))
    each: dict[str, dict[str, float]] = defaultdict(dict)
    for case, own in by_case.items():
        others = [item for item in experiences if item.case != case]
        regrets = _regrets(own, goal)
        for model in models:
            predictor = Predictor(others, model, goal=goal, seed=seed)
            scores = _scores(predictor, own)
            each[model][case] = float(regrets[int(np.argmin(scores))])
        each["average"][case] = float(regrets[int(np.argmin(_average(own, others, goal)))])
        for budget in budgets:
            each[f"search {budget}"][case] = _expected_best(regrets, budget)
    cases = list(by_case)
    regrets_of = {way: _regret(found, seed) for way, found in each.items()}
    gains: dict[str, Interval] = {
        model: bootstrap(
            np.array([each["average"][case] - each[model][case] for case in cases]), np.mean, seed=seed
        )
        for model in models
    }
    return Judgement(regrets_of, gains, tuple(model for model, gain in gains.items() if gain.low > 0))


def _scores(predictor: Predictor, own: Sequence[Experience]) -> NDArray[np.float64]:
    rows = np.stack([predictor._row(item.features, item.choices) for item in own])
    return np.asarray(predictor._regressor.predict(rows), dtype=np.float64)


def _average(own: Sequence[Experience], others: Sequence[Experience], goal: Goal) -> NDArray[np.float64]:
    """Mean relative value of each of the case's choices over the other cases; unknown ones come last."""
    seen: dict[str, list[float]] = defaultdict(list)
    for item, value in zip(others, _relative(others, goal), strict=True):
        seen[_text(dict(item.choices))].append(float(value))
    return np.array([np.mean(seen.get(_text(dict(item.choices)), [np.inf])) for item in own])


def _relative(experiences: Sequence[Experience], goal: Goal) -> NDArray[np.float64]:
    """log(value) less its mean over the case, so that programs of any length can be compared; low is good."""
    logs = np.log([item.value for item in experiences]) * (1 if goal == "lower" else -1)
    cases = np.unique([item.case for item in experiences], return_inverse=True)[1].reshape(-1)
    means = np.bincount(cases, weights=logs) / np.bincount(cases)
    return np.asarray(logs - means[cases])


def _regrets(own: Sequence[Experience], goal: Goal) -> NDArray[np.float64]:
    values = np.array([item.value for item in own])
    return np.asarray(values / values.min() - 1 if goal == "lower" else values.max() / values - 1)


def _expected_best(regrets: NDArray[np.float64], budget: int) -> float:
    """Expected regret of the best of ``budget`` distinct trials, drawn at random."""
    ordered, n = np.sort(regrets), len(regrets)
    budget = min(budget, n)
    # P(the best is at or after position k) = C(n - k, budget) / C(n, budget).
    tail = np.ones(n + 1)
    for k in range(n):
        tail[k + 1] = tail[k] * max(0, n - k - budget) / (n - k)
    return float(np.sum((tail[:-1] - tail[1:]) * ordered))


def _regret(each: Mapping[str, float], seed: int) -> Regret:
    values = np.array(list(each.values()))
    return Regret(float(values.mean()), bootstrap(values, np.mean, seed=seed), dict(each))


def _regressor(model: Model, seed: int) -> Any:
    try:
        from sklearn.neighbors import KNeighborsRegressor
        from sklearn.neural_network import MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR
        from sklearn.tree import DecisionTreeRegressor
    except ImportError as error:
        raise UsageError("learning", expected="scikit-learn", got="not installed") from error
    makers: dict[Model, Callable[[], Any]] = {
        "tree": lambda: DecisionTreeRegressor(min_samples_leaf=2, random_state=seed),
        "neighbours": lambda: KNeighborsRegressor(n_neighbors=3, weights="distance"),
        "svm": lambda: SVR(C=1.0, epsilon=0.02),
        "network": lambda: MLPRegressor(
            hidden_layer_sizes=(16,), solver="lbfgs", alpha=0.1, max_iter=2000, random_state=seed
        ),
    }
    return make_pipeline(StandardScaler(), makers[model]())


def _distinct(items: Any) -> list[dict[str, Any]]:
    return list({_text(dict(choices)): dict(choices) for choices in items}.values())


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
