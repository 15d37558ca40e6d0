"""Convolutions, linear layers and parameterless shortcuts as sums of planes."""

from __future__ import annotations

import numpy as np
from torch import nn

from holdfast.export.c_steps import Maps, Product
from holdfast.models.resnet import PadShortcut
from holdfast.subnet.packed import PackedLayer
from holdfast.subnet.signs import layer_key, sign_bits


def convolution(
    module: nn.Conv2d, layer: PackedLayer, source: Maps, sides: tuple[int, int], seed: int | None
) -> Product:
    """``layer`` in the geometry of ``module``, with maps of ``sides``. ValueError for other padding."""
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise ValueError(f"padding {module.padding!r} ({module.padding_mode})")
    return Product(
        Maps(len(layer.mask), *sides),
        source,
        layer.name,
        np.full(len(layer.mask), layer.scale),
        mask=layer.mask,
        signs=layer.signs,
        key=key_of(layer, seed),
        groups=module.groups,
        stride=_two(module.stride),
        padding=_two(module.padding),
        dilation=_two(module.dilation),
    )


def linear(layer: PackedLayer, source: Maps, shape: tuple[int, ...], seed: int | None) -> Product:
    """``layer`` over all of ``source``, which it sees as ``shape`` (1, K). Raises ValueError for another."""
    many, inner = layer.mask.shape
    if shape != (1, inner) or source.pixels != inner:
        raise ValueError(f"Linear over {shape}")
    mask = layer.mask.reshape(many, source.channels, source.height, source.width)
    scale, key = np.full(many, layer.scale), key_of(layer, seed)
    return Product(Maps(many, 1, 1), source, layer.name, scale, mask=mask, signs=layer.signs, key=key)


def shortcut(module: PadShortcut, source: Maps, shape: tuple[int, ...], title: str) -> Product:
    """``module``, which makes maps of ``shape`` (1, C, H, W): a 1×1 convolution, each channel from one."""
    channels = np.arange(source.channels)
    mask = np.zeros((shape[1], source.channels, 1, 1), dtype=np.bool_)
    mask[module.before + channels, channels] = True
    signs, stride = np.ones(source.channels, dtype=np.bool_), (module.stride, module.stride)
    out = Maps(shape[1], shape[2], shape[3])
    return Product(out, source, title, mask=mask, signs=signs, stride=stride)


def key_of(layer: PackedLayer, seed: int | None) -> int | None:
    """The key of the generator that makes the signs of ``layer``; None where they are others."""
    if seed is None:
        return None
    made = sign_bits(seed, layer.name, layer.mask.size)[layer.mask.reshape(-1)]
    return layer_key(seed, layer.name) if np.array_equal(made, layer.signs) else None


def _two(value: tuple[int, ...]) -> tuple[int, int]:
    first, second = value
    return first, second
