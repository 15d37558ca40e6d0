"""Sparse layers and packed networks for the tests of this room."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast import models
from holdfast.kernels import native
from holdfast.subnet.layers import prunable
from holdfast.subnet.packed import Packed
from holdfast.subnet.rates import adaptive_counts
from holdfast.subnet.sparse import reference
from holdfast.subnet.sparse.build import Choice
from holdfast.subnet.sparse.graph import Layer, Network, network
from holdfast.subnet.sparse.program import Program
from holdfast.subnet.subnetwork import Recipe, Subnetwork


def sparse_(layer: nn.Conv2d | nn.Linear, density: float = 0.3, seed: int = 0) -> None:
    """Give ``layer`` weights ±0.5, most of them 0, and none at all in its last output channel."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(layer.weight.shape, generator=generator)
    signs = torch.where(torch.rand(draw.shape, generator=generator) < 0.5, 0.5, -0.5)
    signs[draw > density] = 0
    if len(signs) > 1:
        signs[-1] = 0
    layer.weight = nn.Parameter(signs, requires_grad=False)


def norm(channels: int, seed: int = 0) -> nn.BatchNorm2d:
    """A norm with statistics and affine parameters of its own."""
    made, generator = nn.BatchNorm2d(channels), torch.Generator().manual_seed(seed)
    for tensor in (made.running_mean, made.running_var, made.weight.data, made.bias.data):
        assert tensor is not None
        tensor.copy_(0.5 + torch.rand(channels, generator=generator))
    return made.eval()


def expected(layer: Layer, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """``layer`` by the reference."""
    assert layer.weights is not None
    parts = layer.weights, layer.window, layer.scale, layer.shift
    return reference.layer(x, *parts, residual, *layer.bounds)


def program(net: Network, images: int, isa: str, method: str, tile: int = 4) -> Program:
    """``net`` with every layer by ``method`` where it can."""
    choices = {
        layer.name: Choice(method if layer.weights is not None else "dense", tile)
        for layer in net.layers.values()
    }
    return Program(net, images, native.Kernels(isa) if isa else None, choices)


def only(model: nn.Module, shape: tuple[int, ...]) -> tuple[Network, Layer]:
    """The network of ``model`` and its only layer."""
    net = network(nn.Sequential(model).eval(), shape)
    (layer,) = net.layers.values()
    return net, layer


def subnetwork(name: str, prune_rate: float = 0.9, p: float = 0.5, **options: object) -> Packed:
    """A packed network with random scores and statistics of random images."""
    arguments = {"in_channels": 3, "classes": 5, "norm": "batch_no_affine", "last_norm": True, **options}
    config = models.create(name, **arguments).config  # type: ignore[arg-type]
    sizes = [layer.weight.numel() for layer in prunable(models.create(**config.arguments())).values()]  # type: ignore[union-attr]
    found = Subnetwork(config, Recipe(0, adaptive_counts(sizes, prune_rate, p)))  # type: ignore[arg-type]
    for module in found.model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.momentum = None  # the plain mean over all batches
    generator = torch.Generator().manual_seed(0)
    size = found.config.size
    found.model.train()
    with torch.no_grad():
        for _ in range(2):
            found.model(torch.rand(16, found.config.in_channels, size, size, generator=generator))
    found.model.eval()
    return found.pack()
