"""Masked layers: the weights stay, the scores learn."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from subnet_support import masked_model
from torch import nn
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.core.protocols import effective_weight
from holdfast.subnet.layers import MaskedConv2d, MaskedLinear, masked, masked_layers, without_norm
from holdfast.subnet.scores import top_mask


def conv(kept: int = 5) -> MaskedConv2d:
    layer = masked(nn.Conv2d(2, 3, 3, stride=2, padding=1))
    assert isinstance(layer, MaskedConv2d)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, 3, 3, generator=generator).sign()
    layer.start(weight, torch.randn(3, 2, 3, 3, generator=generator), kept)
    return layer


def test_forward_is_that_of_the_kept_weights() -> None:
    layer, x = conv(), torch.randn(2, 2, 7, 7)
    kept = layer.weight * top_mask(layer.scores, 5)
    assert torch.equal(layer(x), functional.conv2d(x, kept, stride=2, padding=1))
    assert torch.equal(effective_weight(layer), kept)


def test_maps_keep_the_order_of_memory_of_plain_layers() -> None:
    """Even of one channel, where strides are ambiguous: else every layer after it would be slower."""
    layer = masked(nn.Conv2d(1, 4, 3, padding=1))
    layer.start(torch.ones(4, 1, 3, 3), torch.randn(4, 1, 3, 3), 9)
    layer.to(memory_format=torch.channels_last)
    for _ in range(2):
        maps = layer(torch.rand(2, 1, 8, 8))  # the weight decides
        assert maps.is_contiguous(memory_format=torch.channels_last)
        maps.square().sum().backward()
        assert layer.scores.grad is not None
        assert layer.scores.grad.stride() == layer.scores.stride() == layer.weight.stride()
        with torch.no_grad():
            layer.scores -= layer.scores.grad


def test_scores_receive_the_weight_times_its_gradient() -> None:
    layer, x = conv(), torch.randn(2, 2, 7, 7)
    out = layer(x)
    out.square().sum().backward()
    assert not layer.weight.requires_grad
    kept = (layer.weight * layer.mask).requires_grad_()
    functional.conv2d(x, kept, stride=2, padding=1).square().sum().backward()
    assert kept.grad is not None
    assert layer.scores.grad is not None
    torch.testing.assert_close(layer.scores.grad, kept.grad * layer.weight)
    assert (layer.scores.grad != 0).sum() > layer.kept  # those left out learn as well


def test_ranked_by_size_a_negative_score_moves_the_other_way() -> None:
    by_value, by_size = conv(), conv()
    by_size.start(by_size.weight, by_value.scores, 5, "magnitude")
    x = torch.randn(2, 2, 7, 7)
    with torch.no_grad():
        by_value.scores.copy_(by_size.scores.abs())  # the same mask
    for layer in (by_value, by_size):
        layer(x).square().sum().backward()
    assert by_value.scores.grad is not None
    assert by_size.scores.grad is not None
    assert bool((by_size.scores < 0).any())
    torch.testing.assert_close(by_size.scores.grad, by_value.scores.grad * by_size.scores.sign())


def test_the_mask_follows_the_scores() -> None:
    layer = conv(1)
    for place in (3, 17, 30):
        with torch.no_grad():
            layer.scores.view(-1)[place] = float(layer.scores.max()) + 1
        assert layer.mask.flatten().nonzero().tolist() == [[place]]
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.clone()
    for _ in range(5):
        optimizer.zero_grad()
        (-layer(torch.ones(1, 2, 5, 5)).sum()).backward()
        optimizer.step()
    assert torch.equal(layer.weight, before)
    assert torch.equal(layer.mask, top_mask(layer.scores, 1))


def test_gradients_of_the_input_do_not_touch_the_scores() -> None:
    layer, x = conv(), torch.randn(1, 2, 7, 7, requires_grad=True)
    torch.autograd.grad(layer(x).sum(), x)
    assert layer.scores.grad is None


def test_in_mixed_precision_maps_are_short_and_scores_are_not() -> None:
    layer, x = conv(), torch.randn(2, 2, 7, 7)
    layer(x).square().sum().backward()
    assert layer.scores.grad is not None
    whole, layer.scores.grad = layer.scores.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        maps = layer(x)
        maps.float().square().sum().backward()
    assert maps.dtype is torch.bfloat16
    assert layer.scores.dtype is layer.scores.grad.dtype is torch.float32
    torch.testing.assert_close(layer.scores.grad, whole, rtol=0.05, atol=0.05 * float(whole.abs().max()))


def test_first_used_in_inference_mode_it_still_learns() -> None:
    layer = conv()
    with torch.inference_mode():
        layer(torch.rand(1, 2, 7, 7))
    layer(torch.rand(1, 2, 7, 7)).sum().backward()
    assert layer.scores.grad is not None


def test_copies_and_states() -> None:
    model = masked_model()
    x = torch.rand(2, 2, 12, 12)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
    names = set(model.state_dict())
    assert all(f"{name}.scores" in names and f"{name}.weight" not in names for name in masked_layers(model))


def test_dtype_and_device_moves_are_seen() -> None:
    layer = conv()
    layer(torch.rand(1, 2, 7, 7))
    layer.double()
    assert layer(torch.rand(1, 2, 7, 7, dtype=torch.float64)).dtype is torch.float64


def test_layers_without_a_norm_are_named() -> None:
    assert without_norm(masked_model()) == []
    assert without_norm(masked_model(last_norm=False)) == ["classifier"]
    assert len(without_norm(masked_model(norm="none"))) == 5


def test_what_does_not_fit_is_refused() -> None:
    layer = masked(nn.Linear(3, 2))
    assert isinstance(layer, MaskedLinear)
    assert layer.bias is None
    with pytest.raises(UsageError, match="scores of a masked layer"):
        layer.start(torch.ones(2, 3), torch.ones(3, 2), 1)
    with pytest.raises(UsageError, match="zero padding"):
        masked(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"))
