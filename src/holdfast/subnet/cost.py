"""Operations of a training step with weights of ±1 and with others, counted.

Three products make the step of a layer: its output (weights by inputs), the gradient of its input (weights by
gradients of the output), and the gradient of its weights or scores (inputs by gradients of the output). Each
has one multiplication and one addition a pair of numbers. ±1 weights leave the first two nothing to multiply:
half of the forward operations are saved, and a quarter of the backward ones (Liu et al., NeurIPS 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models import ModelConfig
from holdfast.subnet.layers import prunable


@dataclass(frozen=True)
class Operations:
    """Of one pass over one image."""

    multiplications: int
    additions: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.multiplications + self.additions


@dataclass(frozen=True)
class Cost:
    """Operations of all convolutions and linear layers for one image."""

    forward: Operations
    backward: Operations


def multiplications(model: nn.Module, binary: bool) -> Cost:
    """What ``model`` (from ``models.create``), dense, costs with weights of ±1 (``binary``) or of any value.

    Exact, by the shapes that the layers see; zero padding counts. The first layer needs no gradient of its
    input. Norms and activations are left out.
    """
    pairs = _pairs(model)
    forward, weights, inputs = sum(pairs), sum(pairs), sum(pairs[1:])
    return Cost(
        Operations(0 if binary else forward, forward),
        Operations(weights + (0 if binary else inputs), weights + inputs),
    )


def _pairs(model: nn.Module) -> list[int]:
    """Pairs of a weight and an input of each layer, in the order of the calls."""
    config = model.config
    found: list[int] = []
    assert isinstance(config, ModelConfig)

    def note(layer: Any, _: Any, output: Tensor) -> None:
        found.append(output.numel() * prod(layer.weight.shape[1:]))

    handles = [layer.register_forward_hook(note) for layer in prunable(model).values()]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, config.in_channels, config.size, config.size))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found
