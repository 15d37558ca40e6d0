"""Linear classifiers, whose robustness in L∞ is known exactly."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """Logits (N, classes) of images (N, C, H, W): ``weight`` (classes, C·H·W) times the pixels."""

    def __init__(self, classes: int = 4, channels: int = 2, side: int = 3, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(classes, channels * side * side, generator=generator)
        # Without the mean, which would decide for one class everywhere.
        self.weight = nn.Parameter(weight - weight.mean(1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def robust(model: Linear, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Whether no input within ``radius`` (as x[:1]) of each of ``x`` changes the decision ``y``.

    For that, each margin must exceed the sum of radius · |difference of weights|; ``x`` must be so far from
    the ends of its range that the whole ball lies inside.
    """
    with torch.no_grad():
        logits, weight = model(x), model.weight
        margin = logits.gather(1, y[:, None]) - logits
        change = ((weight[y][:, None] - weight[None]).abs() * radius.expand_as(x[:1]).reshape(1, 1, -1)).sum(
            2
        )
        left = (margin - change).scatter(1, y[:, None], torch.inf)
        assert (left.abs().amin() > 1e-4).all(), "too close to call in float32"
        return left.amin(1) > 0


class LinearStream:
    """Images (n, channels, side, side) in [0.3, 0.7], most labelled as ``model`` decides."""

    def __init__(self, model: Linear, n: int = 40, channels: int = 2, side: int = 3, wrong: int = 3) -> None:
        generator = torch.Generator().manual_seed(n)
        self.x = 0.3 + 0.4 * torch.rand(n, channels, side, side, generator=generator)
        with torch.no_grad():
            self.y = model(self.x).argmax(1)
        self.y[:wrong] = (self.y[:wrong] + 1) % len(model.weight)
        self.info = SimpleNamespace(n=n, fingerprint=f"linear-{n}-{wrong}", simulated=True, classes=None)

    def batches(self, batch_size: int, *, epoch: int = 0, shuffle: bool = False, skip: int = 0):
        for start in range(skip * batch_size, len(self.y), batch_size):
            yield self.x[start : start + batch_size], self.y[start : start + batch_size]
