"""Keras networks as models of the zoo: convolutions, pools, norms and dense layers, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.errors import DataError
from holdfast.models.keras_file import CONV, DENSE, NORM, Arrays, KerasFile, read_keras
from holdfast.models.keras_layers import translated
from holdfast.models.sequential import Sequential
from holdfast.models.zoo import create


def import_keras(path: Path) -> nn.Module:
    """Make a ``sequential`` model with the layers and weights of a Keras Sequential model, in eval mode.

    ``path`` ends in ``.keras`` or ``.h5``. Images go in as (N, C, H, W) where Keras has (N, H, W, C), and
    logits come out: a softmax at the end is left out, and one output z (with a sigmoid or none) becomes the
    two logits (0, z), whose softmax is the same probability. Raises DataError that names a layer that has no
    counterpart here, and what ``read_keras`` raises.
    """
    file = read_keras(path)
    if file.layers is None:
        raise DataError(
            f"network {path}",
            expected="a file with the layers in it",
            got="weights alone",
            remedy="name a model with these layers, or save the whole network as .keras",
        )
    found = translated(file.layers, str(path))
    model = create(
        "sequential",
        in_channels=found.in_channels,
        classes=found.classes,
        size=found.size,
        layers=found.layers,
    )
    _fill(model, file)
    return model.eval()


def load_keras_weights(model: nn.Module, path: Path) -> None:
    """Load weights from a Keras file into a model that is a list of layers, each kind of layer in order.

    All or nothing. Raises DataError if numbers or shapes of layers differ, and for other models.
    """
    _fill(model, read_keras(path))


def _fill(model: nn.Module, file: KerasFile) -> None:
    """Copy the weights of ``file`` into ``model``. Raises DataError; nothing is copied then."""
    source = f"network {file.path}"
    if not isinstance(model, Sequential):
        raise DataError(source, expected="a model that is a list of layers", got=type(model).__name__)
    norms = [layer for layer in file.layers or [] if layer["kind"] == "BatchNormalization"]
    rest = {kind: list(layers) for kind, layers in file.weights.items()}
    copies: list[tuple[Tensor, Any]] = []
    order: Any = slice(None)  # Keras's place of each feature of ours
    config: Any = model.config
    x = torch.zeros(1, config.in_channels, config.size, config.size)
    for place, module in enumerate(model.layers.eval()):
        kind = _kind(module)
        if kind is not None:
            if not rest[kind]:
                raise DataError(source, expected=f"{kind} weights for layer {place}", got="no more")
            arrays = [np.asarray(array, np.float32) for array in rest[kind].pop(0)]
            where = f"{source}, layer {place}"
            if kind == NORM:
                copies += _norm(where, module, arrays, order, norms.pop(0) if norms else None)
            else:
                copies += _product(where, module, arrays, order)
        if isinstance(module, nn.Flatten):
            c, h, w = x.shape[1:]
            order = np.arange(c * h * w).reshape(h, w, c).transpose(2, 0, 1).ravel()
        elif isinstance(module, nn.Linear):
            order = slice(None)
        with torch.no_grad():
            x = module(x)
    left = {kind: len(layers) for kind, layers in rest.items() if layers}
    if left:
        raise DataError(source, expected="as many layers as the model", got=f"more: {left}")
    with torch.no_grad():
        for own, new in copies:
            own.copy_(torch.from_numpy(np.ascontiguousarray(new)))


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, nn.Conv2d):
        return CONV
    if isinstance(module, nn.Linear):
        return DENSE
    return NORM if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) else None


def _product(where: str, module: Any, arrays: Arrays, order: Any) -> list[tuple[Tensor, Any]]:
    """Weight and bias of a convolution or a linear layer, each with its array."""
    conv = isinstance(module, nn.Conv2d)
    kernel, *bias = arrays
    if not conv and kernel.shape[-1] == 1 and module.out_features == 2:  # one output z: the logits (0, z)
        kernel, *bias = (np.concatenate([np.zeros_like(array), array], -1) for array in arrays)
    ours = module.weight.permute(2, 3, 1, 0) if conv else module.weight.T
    expected = [tuple(ours.shape), *([] if module.bias is None else [tuple(module.bias.shape)])]
    _check(where, expected, [kernel, *bias])
    weight = kernel.transpose(3, 2, 0, 1) if conv else kernel[order].T
    return [(module.weight, weight), *((module.bias, array) for array in bias)]


def _norm(
    where: str, module: Any, arrays: Arrays, order: Any, config: dict[str, Any] | None
) -> list[tuple[Tensor, Any]]:
    """Scale and shift, mean and variance of a batch norm, each with its array."""
    count = module.num_features
    scale, shift = (config["scale"], config["center"]) if config else (module.affine, module.affine)
    _check(where, [(count,)] * (2 + scale + shift), arrays)
    found = [np.ones(count), np.zeros(count), *arrays[-2:]]
    if scale:
        found[0] = arrays[0]
    if shift:
        found[1] = arrays[int(scale)]
    own = [module.weight, module.bias, module.running_mean, module.running_var]
    return [(tensor, array[order]) for tensor, array in zip(own, found, strict=True) if tensor is not None]


def _check(where: str, expected: list[tuple[int, ...]], arrays: Arrays) -> None:
    got = [tuple(array.shape) for array in arrays]
    if got != expected:
        raise DataError(where, expected=f"weights of shapes {expected}", got=got)
