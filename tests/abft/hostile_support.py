"""Layers, weights and inputs that are hard on a threshold."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x,
    "relu": torch.relu,
    "zero": torch.zeros_like,
    "constant": lambda x: torch.full_like(x, 0.1),
    "the same image": lambda x: x[:1].expand_as(x).contiguous(),
    "one spike": lambda x: (
        (x.abs() * 1e-3).flatten().index_fill(0, torch.tensor(x.numel() // 2), 100.0).view_as(x)
    ),
    "eight decades": lambda x: x * 10 ** (4 * x.roll(1, 0).clamp(-1, 1)),
    "offset": lambda x: x + 100,
}
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "initial": lambda w: w,
    "positive": torch.abs,
    "constant": lambda w: torch.full_like(w, 0.1),
    "the same kernel": lambda w: w[:1].expand_as(w).contiguous(),
    "binary": lambda w: w.sign() * 0.3,
    "drifting": lambda w: w + 0.5 * w.abs().mean(),
}


def random_layer(draw: random.Random) -> tuple[nn.Conv2d | nn.Linear, tuple[int, ...]]:
    """A layer, and the shape of an input for it."""
    bias = draw.random() < 0.6
    if draw.random() < 0.3:
        features = draw.choice([1, 3, 7, 64, 512, 2048])
        shape = (draw.choice([1, 2, 7, 64]), *draw.choice([(), (1,), (5,)]), features)
        return nn.Linear(features, draw.choice([1, 2, 10, 100]), bias=bias), shape
    groups = draw.choice([1, 1, 2, 8])
    channels = groups * draw.choice([1, 3, 8, 32])
    kernel = draw.choice([1, 3, 3, 5])
    mode = draw.choice(["zeros", "zeros", "circular", "reflect", "replicate"])
    size = draw.choice([4, 7, 8, 14])
    layer = nn.Conv2d(
        channels,
        groups * draw.choice([1, 3, 16]),
        kernel,
        stride=draw.choice([1, 1, 2]),
        padding=kernel // 2,
        groups=groups,
        bias=bias,
        padding_mode=mode,
    )
    return layer, (draw.choice([1, 2, 3, 16]), channels, size, size)
