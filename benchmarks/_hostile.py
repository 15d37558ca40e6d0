"""Layers, models, weights and inputs that are hard on a threshold, all drawn from a seed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast import data, models

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x,
    "relu": torch.relu,
    "zero": torch.zeros_like,
    "constant": lambda x: torch.full_like(x, 0.1),
    "the same image": lambda x: x[:1].expand_as(x).contiguous(),
    "one spike": lambda x: (x * 1e-3).flatten().index_fill(0, torch.tensor(x.numel() // 2), 100.0).view_as(x),
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
SIZES = {
    **dict.fromkeys(("resnet20", "resnet32", "resnet18", "resnet34", "resnet50", "mobilenetv2"), (8, 16, 32)),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), (32,)),
    "cnn": (8, 32), "vit": (16, 32), "alexnet": (63, 64), "alexnet_caffe": (227,), "yolov2": (32, 64),
}  # fmt: skip
"""Sizes of the inputs, from the smallest that a model takes, or near it, to that of its data."""
TRAINED = ("resnet20, trained", "resnet32, trained", "cnn, trained", "vit, trained")
_FILES = {"resnet20": "resnet20-12fca82f.th", "resnet32": "resnet32-d509ac18.th"}
_STEPS = 60


def random_layer(draw: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    """A Linear or a convolution of any kind with hostile weights, and the shape of its input."""
    layer, shape = _any_layer(draw)
    layer.weight.copy_(WEIGHTS[draw.choice(list(WEIGHTS))](layer.weight) * 10 ** draw.uniform(-6, 6))
    if layer.bias is not None:
        layer.bias.mul_(10 ** draw.uniform(-3, 6))
    return layer, shape


def _any_layer(draw: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    bias, n = draw.random() < 0.6, draw.choice([1, 2, 3, 16])
    kind = draw.choice(["linear", "conv", "conv", "conv", "1d", "3d", "transposed"])
    if kind == "linear":
        features = draw.choice([1, 3, 7, 64, 512, 2048])
        middle = draw.choice([(), (1,), (5,)])
        return nn.Linear(features, draw.choice([1, 2, 10, 100]), bias=bias), (n, *middle, features)
    groups = draw.choice([1, 1, 2, 8])
    channels, outputs = groups * draw.choice([1, 3, 8]), groups * draw.choice([1, 3, 16])
    kernel, size = draw.choice([1, 3, 3, 5]), draw.choice([5, 7, 8])
    if kind == "3d":
        n, size, channels, outputs = min(n, 3), 5, min(channels, 8), min(outputs, 16)
    options = {"stride": draw.choice([1, 1, 2]), "padding": kernel // 2, "groups": groups, "bias": bias}
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, outputs, kernel, **options), (n, channels, size, size)
    mode = draw.choice(["zeros", "zeros", "circular", "reflect", "replicate"])
    dimensions = {"1d": 1, "conv": 2, "3d": 3}[kind]
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    return make(channels, outputs, kernel, padding_mode=mode, **options), (n, channels, *[size] * dimensions)


def layer_inputs(shape: tuple[int, ...], draw: random.Random) -> Iterator[Tensor]:
    """Batches of every kind, each of its own scale, some with channels last."""
    for make in INPUTS.values():
        x = make(torch.randn(shape)) * 10 ** draw.uniform(-6, 6)
        if x.dim() == 4 and draw.random() < 0.5:
            x = x.to(memory_format=torch.channels_last)
        yield x


# ---- whole models ------------------------------------------------------------------------------------------


def zoo_model(name: str, draw: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    """A model in eval mode, float32, and the shape of one input; ``name`` of the zoo or of TRAINED.

    Random ones: norms that are no identities; half of them with hostile weights, each layer scaled so that
    its outputs are of the order of one, then by 10^±½. The wide ones often with a quarter of their channels.
    """
    family = name.split(",")[0]
    size = 32 if name in TRAINED else draw.choice(SIZES[family])
    if name in TRAINED:
        return _trained(family), (1 if family == "cnn" else 3, size, size)
    channels = draw.choice([1, 3]) if family in ("cnn", "vit") else 3
    options = {"width": 0.25} if size != 227 and family not in ("cnn", "vit", "resnet20", "resnet32") else {}
    if draw.random() < 0.2:
        options = {}
    model = models.create(name, in_channels=channels, classes=10, size=size, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    if draw.random() < 0.5:
        _make_hostile(model, (channels, size, size), draw)
    return model, (channels, size, size)


def _make_hostile(model: nn.Module, shape: tuple[int, ...], draw: random.Random) -> None:
    change = WEIGHTS[draw.choice(list(WEIGHTS))]

    def settle(layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        scale = 10 ** draw.uniform(-0.5, 0.5) / max(float(out.std(correction=0)), 1e-6)
        for parameter in layer.parameters(recurse=False):
            parameter.mul_(scale)
        return out * scale

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = []
    for layer in layers:
        layer.weight.copy_(change(layer.weight))
        handles.append(layer.register_forward_hook(settle))
    model(torch.randn(2, *shape))
    for handle in handles:
        handle.remove()


def model_inputs(shape: tuple[int, ...], batches: int, draw: random.Random) -> Iterator[Tensor]:
    """Batches of 1 to 4: real images where they fit, or hostile ones of their own scale."""
    for _ in range(batches):
        n = draw.choice([1, 1, 2, 3, 4])
        if draw.random() < 0.5:
            images = _egamma()[0] if shape[0] == 1 else _cifar("test")[0]
            x = images[torch.randint(len(images), (n,))]
            if shape[-1] != 32:
                x = functional.interpolate(x, size=shape[1:], mode="bilinear")
        else:
            make = draw.choice(list(INPUTS.values()))
            x = make(torch.randn(n, *shape)) * 10 ** draw.uniform(-3, 3)
        yield x.to(memory_format=torch.channels_last) if draw.random() < 0.5 else x


def _found(path: str) -> Path:
    for root in os.environ.get("HOLDFAST_DATA", ".data").split(os.pathsep):
        if (Path(root) / path).exists():
            return Path(root) / path
    raise SystemExit(f"no {path} below HOLDFAST_DATA")


@cache
def _cifar(split: data.Split) -> tuple[Tensor, Tensor]:
    """2000 images and labels of CIFAR-10."""
    return next(data.open("cifar10", split=split, limit=2000).batches(2000))[:2]


@cache
def _egamma() -> tuple[Tensor, Tensor]:
    """The 100 real e/γ images (N, 1, 32, 32) and labels."""
    with np.load(_found("egamma/ml4sci_energy_100.npz")) as file:
        images, labels = (torch.from_numpy(file[key]) for key in ("X", "y"))
    return images.float().reshape(len(labels), 1, 32, 32), labels.long().flatten()


@cache
def _trained(family: str) -> nn.Module:
    """Published weights; of the CNN (on e/γ) and the ViT (on CIFAR-10) those of a short training."""
    with torch.inference_mode(False):
        return _fitted(family)


def _fitted(family: str) -> nn.Module:
    model = models.create(family, in_channels=1 if family == "cnn" else 3, classes=10, size=32)
    if family in _FILES:
        models.load_weights(model, _found(f"cifar10_weights/{_FILES[family]}"))
        return model.eval()
    images, labels = _egamma() if family == "cnn" else _cifar("train")
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    with torch.enable_grad():
        for step in range(_STEPS):
            at = torch.arange(step * 32, step * 32 + 32) % len(images)
            loss = functional.cross_entropy(model.train()(images[at].clone()), labels[at].clone())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()
