"""Initial weights of the deep networks: signals keep their size through ReLUs, without normalisation too."""

from __future__ import annotations

from math import sqrt

from torch import nn


def he_normal(model: nn.Module) -> None:
    """Draw convolutions from N(0, 2/fan_out), linear layers from N(0, 0.01²); biases 0 (arXiv 1502.01852).

    ``fan_out`` counts the products that an input element enters: with groups, those of its own group.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels // module.groups * module.weight[0, 0].numel()
            nn.init.normal_(module.weight, 0.0, sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
