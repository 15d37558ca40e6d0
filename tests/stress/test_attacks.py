from __future__ import annotations

from typing import Any

import pytest
import torch
from stress_support import ArrayStream, GuardedNet, make_net
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.stress import FGSM, PGD
from holdfast.stress.attacks import sample_loss

STREAM = ArrayStream(16)
X, Y = STREAM.x, STREAM.y
ATTACKS = {
    "fgsm": FGSM(eps=0.1),
    "pgd": PGD(eps=0.1),
    "pgd without random start": PGD(eps=0.1, random_start=False),
    "pgd with restarts": PGD(eps=0.1, steps=3, restarts=2),
}
by_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


def attacked(attack: Any, model: nn.Module | None = None, x: Tensor = X, y: Tensor = Y) -> Tensor:
    with attack.apply(model or make_net(), x, y, torch.Generator().manual_seed(0)) as stressed:
        return stressed.x


@by_attack
def test_stays_in_ball_and_range(attack: Any) -> None:
    result = attacked(attack)
    assert (result - X).abs().max() <= 0.1 + 1e-6
    assert result.min() >= 0
    assert result.max() <= 1
    assert not result.requires_grad


@by_attack
def test_raises_the_loss_of_every_sample(attack: Any) -> None:
    net = make_net()
    with torch.no_grad():
        assert (sample_loss(net(attacked(attack, net)), Y) > sample_loss(net(X), Y)).float().mean() > 0.9


def test_fgsm_is_its_formula() -> None:
    net = make_net()
    x = X.clone().requires_grad_()
    nn.functional.cross_entropy(net(x), Y, reduction="sum").backward()
    assert x.grad is not None
    step = (X + 0.1 * x.grad.sign()).clamp(0, 1)
    with torch.no_grad():
        worse = sample_loss(net(step), Y) > sample_loss(net(X), Y)
    assert torch.equal(attacked(FGSM(eps=0.1)), torch.where(worse.reshape(-1, 1, 1, 1), step, X))


def test_keeps_the_worst_iterate() -> None:
    """On a loss that is highest at the start, later iterates must not replace it."""

    class Peak(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            # Steep down to -0.05: a step of 0.1 from 0 overshoots the peak of the loss at x = 0.05.
            value = -(x.flatten(1).sum(1) - 0.01).abs()
            return torch.stack([-value, value], 1)

    x = torch.zeros(1, 1, 1, 1)
    y = torch.zeros(1, dtype=torch.long)
    result = attacked(PGD(eps=0.5, steps=4, step=1.0, random_start=False), Peak(), x, y)
    with torch.no_grad():
        assert sample_loss(Peak()(result), y) >= sample_loss(Peak()(x), y)
    assert result.item() == 0


def test_pgd_is_no_weaker_than_fgsm() -> None:
    net = make_net()
    with torch.no_grad():
        strong, weak = (sample_loss(net(attacked(a, net)), Y).mean() for a in (PGD(eps=0.1), FGSM(eps=0.1)))
    assert strong >= weak - 1e-3


def test_zero_radius_changes_nothing_even_outside_the_range() -> None:
    x = X - 0.5
    assert torch.equal(attacked(PGD(eps=0.0), x=x), x)


def test_radius_in_gev_spares_other_channels() -> None:
    attack = PGD(eps_gev=1.0, unit_gev=(50.0, None))
    difference = (attacked(attack) - X).abs()
    assert difference[:, 0].max() == pytest.approx(0.02, rel=1e-3)
    assert not difference[:, 1].any()


def test_energies_have_no_upper_bound() -> None:
    x = X * 10
    result = attacked(FGSM(eps_gev=5.0, unit_gev=(50.0, 50.0)), x=x)
    assert result.min() >= 0
    assert result.max() > x.max()


@by_attack
def test_model_is_left_as_it_was(attack: Any) -> None:
    net = make_net().train()
    net.head.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    attacked(attack, net)
    assert net.training
    assert not net.head.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_works_where_gradients_are_off(mode: Any) -> None:
    net, truth = make_net(), attacked(PGD(eps=0.1))
    with mode():
        x, y = X.clone(), Y.clone()
        assert torch.equal(attacked(PGD(eps=0.1), net, x, y), truth)


def test_works_through_guarded_layers() -> None:
    guarded = GuardedNet()
    assert torch.equal(attacked(PGD(eps=0.1), guarded), attacked(PGD(eps=0.1)))
    assert guarded.events == []


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=str)
def test_one_logit(shape: tuple[int, ...]) -> None:
    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sum(1).reshape(shape)

    result = attacked(FGSM(eps=0.1), Single())
    assert (result[Y == 1] <= X[Y == 1]).all()
    assert (result[Y == 0] >= X[Y == 0]).all()


def test_defaults() -> None:
    assert FGSM().labels == {"eps": pytest.approx(8 / 255)}
    assert FGSM(unit_gev=(50.0, None)).labels == {"eps_gev": 0.05}
    assert PGD(eps=0.1).labels == {"eps": 0.1, "steps": 10}


@pytest.mark.parametrize(
    "options",
    [
        {"eps": 8.0},
        {"eps": -0.1},
        {"eps": float("nan")},
        {"eps": 0.1, "eps_gev": 1.0},
        {"eps": 0.1, "steps": 0},
        {"eps": 0.1, "restarts": 0},
        {"eps": 0.1, "step": 0.0},
    ],
    ids=str,
)
def test_wrong_options(options: dict) -> None:
    with pytest.raises(UsageError):
        PGD(**options)


@pytest.mark.parametrize(
    ("attack", "x"),
    [
        (FGSM(eps=8 / 255), X * 255),
        (FGSM(eps_gev=500.0, unit_gev=(50.0, 50.0)), X),
        (FGSM(eps=2.0, value_range=(0, None)), X),
        (FGSM(eps_gev=1.0), X),
    ],
    ids=["pixels to 255", "eps_gev above all energies", "eps above all energies", "no unit"],
)
def test_mistaken_units(attack: Any, x: Tensor) -> None:
    with pytest.raises(UsageError):
        attacked(attack, x=x)
