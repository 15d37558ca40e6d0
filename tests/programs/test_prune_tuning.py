"""The automatic choice of rates: the most robust short search wins."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import hub
from holdfast.core.errors import HoldfastError
from holdfast.hub.tuning import Trial
from holdfast.programs import prune_tuning

INPUTS: dict[str, Any] = {"model": "convnet", "data": "digits", "seed": 4}


def test_the_most_robust_trial_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    trials = [
        Trial(0, {"p": "1", "tilt": 0.5}, {"robust_accuracy": None}, error="diverged"),
        Trial(1, {"p": "0.1", "tilt": -1.0}, {"robust_accuracy": 0.5}),
        Trial(2, {"p": "0.5", "tilt": 1.5}, {"robust_accuracy": 0.6}),
        Trial(3, {"p": "0.9", "tilt": 0.0}, {"robust_accuracy": 0.6}),
    ]

    def tune(component: str, goals: Any, **options: Any) -> Any:
        asked.update(options, component=component)
        return hub.tuning.Study(trials, None, None)  # type: ignore[attr-defined]

    monkeypatch.setattr(hub, "tune", tune, raising=False)
    assert prune_tuning.tuned_rates(INPUTS) == ("0.5", 1.5)
    assert asked["inputs"]["limit"] == prune_tuning.LIMIT
    assert asked["seed"] == 4
    prune_tuning.tuned_rates(INPUTS, limit=100)
    assert asked["inputs"]["limit"] == 100
    trials[1:] = []
    with pytest.raises(HoldfastError, match="diverged"):
        prune_tuning.tuned_rates(INPUTS)


@pytest.mark.slow
def test_short_searches_by_the_tuner(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))
    inputs = {**INPUTS, "options": {"width": 0.25}, "prune_rate": 0.8, "attack": "n_fgsm", "eps": 0.1}
    inputs |= {"epochs": 1, "judged": 20, "batch_size": 32}
    first = prune_tuning.tuned_rates(inputs, limit=128, trials=2)
    assert 0 <= float(first[0]) <= 1
    assert -2 <= first[1] <= 2
    assert prune_tuning.tuned_rates(inputs, limit=128, trials=2) == first
