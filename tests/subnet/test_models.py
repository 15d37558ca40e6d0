"""The families for 32×32 images can all be pruned."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from holdfast import models, stress
from holdfast.subnet import Recipe, Subnetwork, adaptive_counts
from holdfast.subnet.layers import prunable, without_norm
from holdfast.training.adversarial import Adversarial

FAMILIES: dict[str, dict[str, Any]] = {
    "resnet18": {"stem": "cifar", "width": 0.0625},
    "resnet34": {"stem": "cifar", "width": 0.0625},
    "resnet50": {"stem": "cifar", "width": 0.0625},
    "vgg11": {"width": 0.02},
    "convnet": {"width": 0.25},
    "mobilenetv2": {"stem": "cifar", "width": 0.1},
}
UNNORMED = {"vgg11": ["classifier.0", "classifier.3"]}
"""VGG's hidden linear layers; every other layer has a norm behind it."""


@pytest.mark.parametrize("name", FAMILIES)
def test_one_attacked_step_and_the_packed_form(name: str) -> None:
    torch.manual_seed(0)
    given = {"in_channels": 3, "classes": 10, "size": 32, "norm": "batch_no_affine", "last_norm": True}
    config: Any = models.create(name, **given, **FAMILIES[name]).config
    sizes = [layer.weight.numel() for layer in prunable(models.create(**config.arguments())).values()]
    counts = adaptive_counts(sizes, 0.9, 0.1)
    found = Subnetwork(config, Recipe(0, counts))
    assert without_norm(found.model) == UNNORMED.get(name, [])
    before = {key: mask.clone() for key, mask in found.masks.items()}
    optimizer = torch.optim.SGD(found.model.parameters(), lr=1.0)
    objective = Adversarial(stress.PGD(eps=8 / 255), steps=1, step=1.25)
    x, y = torch.rand(8, 3, 32, 32), torch.arange(8)
    objective(found.model.train(), x, y, torch.Generator().manual_seed(0)).backward()
    optimizer.step()
    assert [int(mask.sum()) for mask in found.masks.values()] == counts
    moved = [key for key, mask in found.masks.items() if not torch.equal(mask, before[key])]
    assert moved
    found.model.eval()
    network = found.pack()
    assert network.kept == sum(counts)
    with torch.no_grad():
        logits = network.to_module()(x)
    assert logits.shape == (8, 10)
    assert torch.isfinite(logits).all()
