"""Counts against those of torch, and against a layer counted by hand."""

from __future__ import annotations

import pytest
import torch
from subnet_support import masked_model
from torch.utils.flop_counter import FlopCounterMode

from holdfast import models
from holdfast.subnet.cost import multiplications


@pytest.mark.parametrize("name", ["convnet", "resnet18", "mobilenetv2"])
def test_as_torch_counts(name: str) -> None:
    model = models.create(name, in_channels=3, classes=10, size=32).eval()
    cost = multiplications(model, binary=False)
    with FlopCounterMode(display=False) as forward:
        loss = model(torch.zeros(1, 3, 32, 32)).sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert cost.forward.total == forward.get_total_flops()
    if (
        name != "mobilenetv2"
    ):  # torch counts the backward pass of grouped convolutions as if they had one group
        assert cost.backward.total == backward.get_total_flops()


def test_half_of_the_forward_and_about_a_quarter_of_the_backward_operations_are_saved() -> None:
    model = masked_model("convnet")
    assert model.training is False
    any_weight, binary = multiplications(model, binary=False), multiplications(model, binary=True)
    assert binary.forward.multiplications == 0
    assert binary.forward.total * 2 == any_weight.forward.total
    first = 16 * 2 * 9 * 12 * 12  # pairs of the first layer, whose input has no gradient
    pairs = any_weight.forward.additions
    assert any_weight.backward.total == 2 * (2 * pairs - first)
    assert any_weight.backward.total - binary.backward.total == pairs - first
    assert binary.backward.additions == any_weight.backward.additions
