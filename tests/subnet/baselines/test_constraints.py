"""Constraints on weights: exact forward, straight-through backward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from holdfast import models
from holdfast.subnet.baselines.constraints import (
    Chosen,
    Signs,
    binarise,
    binary_scale,
    constraints,
    plain,
    trained_weight,
)
from holdfast.subnet.layers import prunable
from holdfast.subnet.scores import top_mask


def conv(*forms: nn.Module) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3)
    for form in forms:
        parametrize.register_parametrization(layer, "weight", form)
    return layer


def test_binary_weights_have_one_size_and_zero_is_positive() -> None:
    layer = conv(Signs(0.25))
    latent = trained_weight(layer)
    with torch.no_grad():
        latent.view(-1)[:3] = torch.tensor([0.0, -0.0, 7.0])
    assert layer.weight.unique().tolist() == [-0.25, 0.25]
    assert layer.weight.view(-1)[:3].tolist() == [0.25] * 3
    assert float(latent.detach().max()) == 1  # clamped
    layer.eval()
    with torch.no_grad():
        latent.view(-1)[0] = -7
    assert float(layer.weight.detach().view(-1)[0]) == -0.25
    assert float(latent.detach().min()) == -7  # evaluation changes nothing


def test_the_gradient_passes_straight_through() -> None:
    layer, x = conv(Signs(0.25)), torch.randn(2, 2, 5, 5)
    layer(x).square().sum().backward()
    weight = layer.weight.detach().clone().requires_grad_()
    functional.conv2d(x, weight, layer.bias).square().sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(trained_weight(layer).grad, 0.25 * weight.grad)


@pytest.mark.parametrize("learns", ["scores", "weight"])
def test_chosen_weights(learns: str) -> None:
    scores = torch.randn(3, 2, 3, 3)
    layer, x = conv(Chosen(scores, 5)), torch.randn(2, 2, 5, 5)
    chosen = constraints(layer, Chosen)[0]
    chosen.scores.requires_grad_(learns == "scores")
    original = trained_weight(layer).requires_grad_(learns == "weight")
    mask = top_mask(scores, 5)
    assert torch.equal(chosen.mask, mask)
    assert torch.equal(layer.weight, original * mask)
    layer(x).square().sum().backward()
    weight = layer.weight.detach().clone().requires_grad_()
    functional.conv2d(x, weight, layer.bias).square().sum().backward()
    assert weight.grad is not None
    if learns == "scores":
        assert original.grad is None
        torch.testing.assert_close(chosen.scores.grad, weight.grad * original)
    else:
        assert chosen.scores.grad is None
        torch.testing.assert_close(original.grad, weight.grad * mask)


def test_the_mask_follows_the_scores() -> None:
    layer = conv(Chosen(torch.randn(3, 2, 3, 3), 1))
    chosen = constraints(layer, Chosen)[0]
    for place in (3, 17, 30):
        with torch.no_grad():
            chosen.scores.view(-1)[place] = float(chosen.scores.detach().max()) + 1
        assert layer.weight.flatten().nonzero().tolist() == [[place]]


def test_the_scale_keeps_the_size_of_signals() -> None:
    weight = torch.empty(64, 32, 3, 3)
    assert binary_scale(weight) == pytest.approx((2 / 288) ** 0.5)
    assert binary_scale(weight, weight.numel() // 4) == pytest.approx(2 * binary_scale(weight))


def test_a_plain_model_computes_the_same() -> None:
    torch.manual_seed(0)
    model = models.create("convnet", in_channels=1, classes=10, size=8)
    binarise(model)
    layer = prunable(model)["blocks.1.conv"]
    parametrize.register_parametrization(layer, "weight", Chosen(torch.rand_like(layer.weight), 7))
    model.train()(torch.rand(4, 1, 8, 8))
    model.eval()
    state = torch.get_rng_state()
    twin, x = plain(model), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(twin(x), model(x))
    assert set(twin.state_dict()) == set(models.create(**model.config.arguments()).state_dict())  # type: ignore[union-attr]
    assert int(twin.get_submodule("blocks.1.conv").weight.count_nonzero()) == 7  # type: ignore[union-attr,operator]
    assert torch.equal(copy.deepcopy(twin)(x), twin(x))
