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


NAMES = ["pgd", "fgsm_rs", "n_fgsm", "trades", "fast"]


@pytest.mark.parametrize("name", NAMES)
def test_statistics_move_once_a_step(make_model, name):
    """With the batch that is trained on, and no attack."""
    model = make_model(norm="batch").train()
    steps = [b for key, b in model.named_buffers() if key.endswith("num_batches_tracked")]
    assert steps
    x, y = batch()
    objectives.create(name, eps=EPS)(model, x, y, gen()).backward()
    assert {int(step) for step in steps} == {1}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["cross_entropy", "noise", *NAMES])
def test_every_objective_smooths_labels(make_model, name):
    x, y = batch()[0], torch.zeros(16, dtype=torch.long)
    model = make_model(dropout=0.0).eval()
    with torch.no_grad():
        model.classifier.bias[0] = 5.0  # sure answers, which smoothing punishes
    options = {"eps": 1e-9} if name in NAMES else {"sigma": 0.0, "dead": 0.0} if name == "noise" else {}
    found = objectives.create(name, smoothing=0.3, **options)(model, x, y, gen())
    expected = functional.cross_entropy(model(x), y, label_smoothing=0.3)
    assert torch.isclose(found, expected, rtol=1e-4)
    assert not torch.isclose(found, functional.cross_entropy(model(x), y), rtol=1e-2)


@pytest.mark.parametrize("name", ["pgd", *NAMES[2:]])
def test_simulated_energies_are_attacked_in_gev(name, tmp_path):
    """Times stay as they are, and the network learns under the attack."""
    from holdfast import data, models
    from holdfast.data.simulate import simulate

    simulate(tmp_path, events=64, seed=0)
    stream = data.open(tmp_path, split="all")
    assert stream.info.simulated
    model = models.create(
        "convnet", in_channels=2, classes=2, size=32, norm="batch_no_affine", last_norm=True
    )
    seen = []
    model.register_forward_hook(lambda _, args, __: seen.append(args[0].detach()))
    objective = objectives.create(name, info=stream.info, eps_gev=0.5)
    x, y = next(stream.batches(64))
    objective(model, x, y, gen()).backward()
    trained_on = seen[-1][-64:]
    reach = 3 if name == "n_fgsm" else 1
    assert 0 < (trained_on - x)[:, 0].abs().max() <= reach * 0.5 / 50 + 1e-6
    assert torch.equal(trained_on[:, 1], x[:, 1])
    assert trained_on[:, 0].min() >= x[:, 0].clamp(max=0).min()


@pytest.mark.parametrize("name", ["pgd", "trades", "fast"])
def test_attacks_are_in_low_precision_where_training_is(blobs, make_model, tmp_path, name):
    model, types = make_model(), set()
    layer = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    layer.register_forward_hook(lambda *a: types.add((model.training, a[2].dtype)))
    objective = objectives.create(name, eps=EPS)
    fit(
        model,
        blobs(),
        blobs(50),
        epochs=1,
        batch_size=64,
        out=tmp_path,
        objective=objective,
        precision="bf16-mixed",
    )
    low = {(training, torch.bfloat16) for training in (True, False)}
    assert low <= types
    assert (True, torch.float32) not in types
    assert all(p.dtype is torch.float32 and p.isfinite().all() for p in model.parameters())
