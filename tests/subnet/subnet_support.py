"""Small masked networks for the tests of this room."""

from __future__ import annotations

import torch
from torch import nn

from holdfast import models
from holdfast.subnet.assembly import stats_of
from holdfast.subnet.layers import masked, masked_layers, prunable, replace
from holdfast.subnet.packed import Packed, PackedLayer, as_stored
from holdfast.subnet.rates import adaptive_counts
from holdfast.subnet.signs import sign_bits


def masked_model(name: str = "cnn", seed: int = 0, prune_rate: float = 0.9, **options: object) -> nn.Module:
    """A masked model with drawn scores and statistics."""
    arguments = {"in_channels": 2, "classes": 3, "size": 12, "norm": "batch_no_affine", "last_norm": True}
    torch.manual_seed(seed)
    model = models.create(name, **{**arguments, **options})  # type: ignore[arg-type]
    found = prunable(model)
    counts = adaptive_counts([layer.weight.numel() for layer in found.values()], prune_rate, 0.5)
    for (at, layer), kept in zip(found.items(), counts, strict=True):
        shape = layer.weight.shape
        signs = torch.from_numpy(sign_bits(seed, at, shape.numel())).view(shape)
        new = masked(layer)
        new.start(torch.where(signs, 1.0, -1.0), 0.01 * torch.randn(shape), kept)
        replace(model, at, new)
    model.train()
    with torch.no_grad():
        model(torch.rand(16, 2, 12, 12))
    return model.eval()


def packed(model: nn.Module, seed: int | None = 0) -> Packed:
    """``model`` packed."""
    layers = [
        PackedLayer(name, layer.mask.numpy(), (layer.weight[layer.mask] > 0).numpy())
        for name, layer in masked_layers(model).items()
    ]
    stats = {name: as_stored(name, value) for name, value in stats_of(model).items()}
    return Packed(model.config, layers, stats, seed)  # type: ignore[arg-type]
