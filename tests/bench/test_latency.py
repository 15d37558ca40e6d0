import time

import pytest
import torch
from torch import nn

from holdfast import bench, models
from holdfast.core.errors import DataError, UsageError


class Slow(nn.Module):
    """Two logits after a known time."""

    def __init__(self, seconds=0.0, answer=0.0):
        super().__init__()
        self.seconds, self.answer = seconds, answer

    def forward(self, x):
        time.sleep(self.seconds)
        return torch.full((len(x), 2), self.answer)


def test_latency_is_the_median_of_a_batch_in_ms():
    (record,) = bench.latency(Slow(0.004), (1, 2, 2), 3, repeats=9, labels={"model": "m"}, seed=1)
    assert 4 <= record.value < 40
    assert record.interval.low <= record.value <= record.interval.high
    assert (record.metric, record.unit, record.direction, record.n) == ("latency", "ms", "lower", 9)
    assert record.timed
    assert record.labels == {
        "model": "m",
        "batch": 3,
        "threads": torch.get_num_threads(),
        "device": "cpu",
    }
    assert "value" not in record.stable()


def test_overhead_is_the_paired_ratio():
    (record,) = bench.overhead(Slow(0.002), Slow(0.006), (1, 2, 2), 1, pairs=9)
    assert 1.5 < record.value < 4
    assert (record.metric, record.unit, record.timed) == ("latency_ratio", "1", True)


def test_models_that_disagree_have_no_ratio():
    with pytest.raises(DataError, match="two models that agree"):
        bench.overhead(Slow(), Slow(answer=1.0), (1, 2, 2), 1)


@pytest.mark.parametrize("answer", [float("nan"), float("inf")])
def test_a_broken_model_has_no_latency(answer):
    with pytest.raises(DataError, match="finite logits"):
        bench.latency(Slow(answer=answer), (1, 2, 2), 1)


@pytest.mark.parametrize(
    ("shape", "batch", "repeats"),
    [((1, 2, 2), 0, 5), ((1, 0, 2), 1, 5), ((), 1, 5), ((1, 2, 2), 1, 0)],
    ids=str,
)
def test_sizes_below_one_are_refused(shape, batch, repeats):
    with pytest.raises(UsageError, match=">= 1"):
        bench.latency(Slow(), shape, batch, repeats=repeats)


def test_a_real_model_is_timed_in_eval_mode_and_keeps_its_own():
    model = models.create("cnn", in_channels=2, classes=2, size=8).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    bench.latency(model, (2, 8, 8), 4, repeats=2)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
