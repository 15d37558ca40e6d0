"""Attacks inside training: they stay where they must, hurt, and leave the norms alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.training import fit, objectives

EPS = 0.1


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=16):
    return torch.rand(n, 1, 8, 8, generator=gen(1)), torch.arange(n) % 2


@pytest.mark.parametrize(
    ("name", "reach"), [("pgd", EPS), ("fgsm_rs", EPS), ("n_fgsm", 3 * EPS)], ids=lambda v: str(v)
)
def test_attacks_stay_in_their_ball_and_in_the_range(make_model, name, reach):
    x, y = batch()
    attacked = objectives.create(name, eps=EPS).attack(make_model(), x, y, gen())
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    largest = (attacked - x).abs().max()
    assert largest <= reach + 1e-6
    assert largest > 0.9 * EPS if name != "n_fgsm" else largest > 1.5 * EPS


@pytest.mark.parametrize("name", ["pgd", "fgsm_rs", "n_fgsm"])
def test_attacks_raise_the_loss_and_leave_statistics_alone(make_model, name):
    model = make_model().train()
    x, y = batch()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    attacked = objectives.create(name, eps=EPS).attack(model, x, y, gen())
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        assert functional.cross_entropy(model(attacked), y) > functional.cross_entropy(model(x), y)


def test_the_same_generator_attacks_the_same(make_model):
    x, y = batch()
    objective = objectives.create("pgd", eps=EPS, steps=3)
    model = make_model().eval()
    assert torch.equal(objective.attack(model, x, y, gen(3)), objective.attack(model, x, y, gen(3)))
    assert not torch.equal(objective.attack(model, x, y, gen(3)), objective.attack(model, x, y, gen(4)))


def test_trades_without_robustness_is_plain_training(make_model):
    x, y = batch()
    model = make_model(dropout=0.0).eval()
    plain = functional.cross_entropy(model(x), y)
    assert torch.isclose(objectives.create("trades", eps=EPS, beta=0.0)(model, x, y, gen()), plain)
    assert objectives.create("trades", eps=EPS, steps=2)(model, x, y, gen()) > plain


def test_smoothing_is_that_of_cross_entropy(make_model):
    x, y = batch()
    model = make_model(dropout=0.0).eval()
    objective = objectives.create("pgd", eps=1e-9, steps=1, smoothing=0.2)
    expected = functional.cross_entropy(model(x), y, label_smoothing=0.2)
    assert torch.isclose(objective(model, x, y, gen()), expected, atol=1e-5)
    with pytest.raises(UsageError, match="label smoothing"):
        objectives.create("pgd", smoothing=1.0)


def test_units_that_were_mistaken_are_refused(make_model):
    x, y = batch()
    with pytest.raises(UsageError, match="check the unit"):
        objectives.create("pgd", eps=8.0)
    with pytest.raises(UsageError, match="check the unit"):
        objectives.create("pgd", eps=8 / 255)(make_model(), 255 * x, y, gen())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_adversarial_training_learns_to_withstand(blobs, make_model, tmp_path, optimizer):
    train, val = blobs(400), blobs(100, seed=1)
    model = make_model()
    lr = 1e-2 if optimizer == "adamw" else 0.05
    objective = objectives.create("pgd", eps=0.05, steps=2, step=0.7)
    fit(
        model,
        train,
        val,
        epochs=8,
        batch_size=50,
        lr=lr,
        out=tmp_path,
        objective=objective,
        optimizer=optimizer,
    )
    x, y = val.x, val.y
    attacked = objective.attack(model.eval(), x, y, gen())
    with torch.no_grad():
        assert (model(attacked).argmax(1) == y).float().mean() > 0.8


def test_unknown_optimizers_are_named(blobs, make_model, tmp_path):
    with pytest.raises(UsageError, match="adamw, sgd"):
        fit(make_model(), blobs(), blobs(), epochs=1, out=tmp_path, optimizer="lion")
