from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import nn

from holdfast import bench
from holdfast.core.errors import DataError


class Fixed(nn.Module):
    """Answers with what its input holds: x (N, classes, 1, 1) are the logits."""

    def forward(self, x):
        assert not self.training
        return x.flatten(1)


def batches(logits, labels, size=7):
    x, y = torch.as_tensor(logits, dtype=torch.float32)[:, :, None, None], torch.as_tensor(labels)
    return list(zip(x.split(size), y.split(size), strict=True))


def stream(logits, labels, simulated=True):
    parts = batches(logits, labels)
    info = SimpleNamespace(n=len(labels), simulated=simulated)
    return SimpleNamespace(info=info, batches=lambda size: iter(parts))


@pytest.fixture
def two():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    logits = np.round(rng.normal(size=(500, 2)) + labels[:, None] * [[-0.5, 0.5]], 1)  # with ties
    return logits.astype(np.float32), labels


def test_values_agree_with_scikit_learn(two):
    logits, labels = two
    found = bench.evaluate(Fixed(), batches(logits, labels))
    assert found.accuracy == accuracy_score(labels, logits.argmax(1))
    probability = torch.from_numpy(logits).double().softmax(1).numpy()
    assert found.loss == pytest.approx(log_loss(labels, probability), rel=1e-9)
    accuracy, auc = bench.quality_records(found)
    difference = logits[:, 1].astype(float) - logits[:, 0]
    assert auc.value == pytest.approx(roc_auc_score(labels, difference), abs=1e-12)
    assert accuracy.interval.method == "wilson"
    assert auc.interval.method == "delong"
    assert auc.interval.low < auc.value < auc.interval.high


def test_saturated_probabilities_do_not_tie():
    labels = np.array([0, 0, 1, 1])
    logits = np.array([[0, 200], [0, 300], [0, 400], [0, 500]], dtype=np.float32)
    auc = bench.quality_records(bench.evaluate(Fixed(), batches(logits, labels)))[1]
    assert auc.value == 1.0


def test_quality_carries_labels_seed_and_whether_data_are_simulated(two):
    records = bench.quality(Fixed(), stream(*two), labels={"model": "m", "split": "test"}, seed=4)
    assert [record.metric for record in records] == ["accuracy", "auc"]
    for record in records:
        assert record.labels == {"model": "m", "split": "test"}
        assert (record.seed, record.n, record.simulated, record.direction) == (4, 500, True, "higher")


def test_three_classes_have_no_auc():
    records = bench.quality(Fixed(), stream(np.eye(3), [0, 1, 2], simulated=False))
    assert [(record.metric, record.value, record.simulated) for record in records] == [
        ("accuracy", 1.0, False)
    ]


def test_one_class_among_the_labels_has_no_auc():
    records = bench.quality(Fixed(), stream(np.eye(2), [1, 1]))
    assert [(record.metric, record.value) for record in records] == [("accuracy", 0.5)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_logits_are_wrong_and_make_the_auc_invalid(two, bad):
    logits, labels = two
    right = int(np.flatnonzero(logits.argmax(1) == labels)[0])
    before = bench.evaluate(Fixed(), batches(logits, labels)).correct
    logits = logits.copy()
    logits[right, labels[right]] = bad
    found = bench.evaluate(Fixed(), batches(logits, labels))
    accuracy, auc = bench.quality_records(found)
    assert found.correct == before - 1
    assert accuracy.status == "ok"
    assert (auc.value, auc.status, auc.message) == (None, "invalid", "1 of 500 scores are not finite")


def test_the_mode_of_the_model_comes_back(two):
    for mode in (True, False):
        model = Fixed().train(mode)
        bench.evaluate(model, batches(*two))
        assert model.training is mode


def test_no_batches_and_foreign_labels_are_named():
    with pytest.raises(DataError, match="at least one batch"):
        bench.evaluate(Fixed(), [])
    with pytest.raises(DataError, match="labels 0 to 1, the model's classes, got labels 0 to 2"):
        bench.evaluate(Fixed(), batches(np.zeros((3, 2)), [0, 1, 2]))
