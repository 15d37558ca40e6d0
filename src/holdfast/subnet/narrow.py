"""Modules with fewer channels than their model was made with."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def narrow_layer(layer: nn.Conv2d | nn.Linear, rows: int, columns: int) -> None:
    """Let ``layer`` have ``rows`` outputs, of ``columns`` inputs each; its weight is untouched."""
    if isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = columns, rows
        return
    if layer.groups > 1 and layer.groups == layer.out_channels:
        layer.groups = rows
    layer.in_channels, layer.out_channels = columns * layer.groups, rows


def narrow_norms(model: nn.Module, stats: Mapping[str, Tensor]) -> None:
    """Give the norms of ``model`` as many channels as ``stats``, by name in the state dict, have values."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.running_mean" in stats:
            module.num_features = stats[f"{name}.running_mean"].numel()
            for key in ("running_mean", "running_var", "weight", "bias"):
                value = getattr(module, key)
                if value is not None:
                    value.data = value.data[: module.num_features].clone()
