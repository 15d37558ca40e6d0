"""The time is told before training starts, and telling it changes nothing."""

from __future__ import annotations

import pytest
import torch

from holdfast import training
from holdfast.training import objectives
from holdfast.training.estimate import Estimate, duration, estimate


@pytest.mark.parametrize("objective", ["cross_entropy", "fast"])
def test_the_estimate_changes_no_byte(streams, make_model, tmp_path, objective):
    def run(name, **options):
        options |= {"epochs": 2, "batch_size": 64, "augment": "crop_flip", "checkpoint_steps": 2}
        goal = objectives.create(objective)
        model = make_model(dropout=0.2)
        return training.fit(model, *streams, **options, objective=goal, out=tmp_path / name)

    told = []
    with_it, without = run("with", on_estimate=told.append), run("without")
    assert with_it.best.read_bytes() == without.best.read_bytes()
    first, second = (
        torch.load(result.last, weights_only=True, map_location="cpu") for result in (with_it, without)
    )
    assert all(torch.equal(value, second["model"][key]) for key, value in first["model"].items())
    assert len(told) == 1
    assert told[0].total_seconds == pytest.approx(2 * told[0].epoch_seconds)
    run("with", on_estimate=told.append)
    assert len(told) == 1  # nothing is left of a finished training


def test_what_is_left_is_estimated(streams, make_model, tmp_path):
    train, val = streams

    class Interrupting:
        info = train.info

        def batches(self, batch_size, *, epoch=0, **options):
            if epoch == 3:
                raise KeyboardInterrupt
            return train.batches(batch_size, epoch=epoch, **options)

    settings = {"epochs": 4, "batch_size": 64, "out": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        training.fit(make_model(), Interrupting(), val, **settings)
    told = []
    training.fit(make_model(), train, val, **settings, on_estimate=told.append)
    assert told[0].total_seconds == pytest.approx(told[0].epoch_seconds)


def test_arithmetic(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(training.estimate, "perf_counter", lambda: 0.25 * next(clock))
    batches = [(torch.zeros(8), torch.zeros(8)), (torch.zeros(8), torch.zeros(8))]
    told = estimate(batches, lambda x, y: None, lambda: None, steps=30, steps_per_epoch=10, judged_batches=4)
    # Every look at the clock is 0.25 s after the last: so a step takes 0.25 s, and a judged batch.
    assert told == Estimate(10 * 0.25 + 4 * 0.25, 3 * (10 * 0.25 + 4 * 0.25), 8 / 0.25)
    assert str(told) == "about 3.5 s an epoch (32 images/s), 10 s in all"
    assert estimate([], print, print, steps=0, steps_per_epoch=0, judged_batches=0) == Estimate(0, 0, 0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.034, "0.034 s"), (99, "99 s"), (100, "1.7 min"), (5900, "98 min"), (7200, "2 h")]
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text
