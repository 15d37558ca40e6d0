"""ATMC: its projections, its multipliers, and their memory."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from holdfast import data, models
from holdfast.core.errors import UsageError
from holdfast.subnet import baselines
from holdfast.subnet.baselines.atmc import EVERY, RHO, Multiplier, Sparse, nearest_binary
from holdfast.subnet.baselines.constraints import trained_weight
from holdfast.subnet.layers import prunable


def test_the_nearest_binary_weights() -> None:
    weight = torch.tensor([0.5, -1.5, 0.0, 4.0, -9.0])
    mask = torch.tensor([True, True, True, True, False])
    found = nearest_binary(weight, mask)
    assert found.tolist() == [1.5, -1.5, 1.5, 1.5, 0]
    best = min(
        (float((weight[mask] - scale * torch.tensor(signs)).square().sum()), scale, signs)
        for scale in torch.linspace(0, 3, 61).tolist()
        for signs in product((-1.0, 1.0), repeat=4)
    )
    assert float((weight - found)[mask].square().sum()) == pytest.approx(best[0])


@pytest.mark.parametrize("counts", [[2, 3], None], ids=["layers", "global"])
def test_projection_keeps_the_largest(counts: list[int] | None) -> None:
    layers = [nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)]
    values = [torch.arange(8.0).view(2, 4) - 3.6, 0.1 * torch.arange(8.0).view(4, 2) - 0.36]
    for layer, value in zip(layers, values, strict=True):
        layer.weight.data.copy_(value)
    sparse = Sparse(layers, 5, counts)
    sparse()
    kept = [layer.weight.detach().flatten().nonzero().flatten().tolist() for layer in layers]
    # Of all together, the second layer has only the one weight that it must have.
    assert kept == ([[0, 7], [0, 1, 7]] if counts else [[0, 1, 6, 7], [0]])
    version = layers[0].weight._version
    sparse()
    assert layers[0].weight._version == version  # nothing has changed, so nothing is projected
    with torch.no_grad():
        layers[0].weight.add_(torch.eye(2, 4))
    sparse()
    assert sum(int(layer.weight.count_nonzero()) for layer in layers) == 5


def test_multipliers_pull_towards_binary_weights() -> None:
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, -3.0, 0.0, 2.0]])
    multiplier = Multiplier(layer.weight)
    parametrize.register_parametrization(layer, "weight", multiplier)
    weight = trained_weight(layer)
    weight.register_hook(multiplier.pull(layer))
    (layer.weight * torch.ones(1, 4)).sum().backward()
    z = torch.tensor([[2.0, -2.0, 0.0, 2.0]])
    u = weight.detach() - z
    assert torch.equal(multiplier.target, z)
    assert torch.equal(multiplier.dual, u)
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 1 + RHO * (weight.detach() - z + u))
    for _ in range(EVERY - 1):
        (layer.weight.sum()).backward()
    assert torch.equal(multiplier.dual, u)
    (layer.weight.sum()).backward()
    assert not torch.equal(multiplier.dual, u)


def test_global_and_resumed(tmp_path: Path) -> None:
    digits = data.open("digits", split="train", limit=320), data.open("digits", split="val")
    slim = models.create("convnet", in_channels=1, classes=10, size=8, width=0.5)
    options: dict[str, Any] = {"prune_rate": 0.9, "p": "global", "attack": "cross_entropy", "epochs": 3}
    options |= {"split": (1, 2), "batch_size": 64, "weights": "binary", "checkpoint_steps": 2}

    class StoppedError(Exception):
        pass

    class Stop:
        def __init__(self, at: int) -> None:
            self.left = at

        def __call__(self, x: Any, y: Any, generator: Any) -> tuple[Any, Any]:
            self.left -= 1
            if self.left < 0:
                raise StoppedError
            return x, y

    whole = baselines.train("atmc", slim, digits, out=tmp_path / "a", augment=Stop(99), **options)
    with pytest.raises(StoppedError):
        baselines.train("atmc", slim, digits, out=tmp_path / "b", augment=Stop(12), **options)
    resumed = baselines.train("atmc", slim, digits, out=tmp_path / "b", augment=Stop(99), **options)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    layers = prunable(whole).values()
    total = round(0.1 * sum(layer.weight.numel() for layer in layers))
    assert sum(int(layer.weight.count_nonzero()) for layer in layers) == total
    assert all(len(layer.weight.detach().abs().unique()) <= 2 for layer in layers)
    with pytest.raises(UsageError, match="global is ATMC's"):
        baselines.train("hydra", slim, digits, out=tmp_path / "c", **{**options, "split": None})
