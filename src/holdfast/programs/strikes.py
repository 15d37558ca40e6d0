"""Calls of a protected model in which one layer's product goes wrong, on the path that really computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.abft.layers import ProtectedLayer
from holdfast.abft.protect import Protected
from holdfast.programs.baselines import Forward

PATTERNS = ("block", "row", "column")
"""One number of O; what one element of D reaches, in all channels; one channel of all images, for W."""


def struck(protected: Protected, call: Forward, pattern: str, seed: int) -> Forward:
    """``call`` of ``protected`` with an error in one layer, each call in another one, in an order of its own.

    Raises KeyError for an unknown pattern.
    """
    layers = protected.layers()
    order = np.random.default_rng(seed).permutation(len(layers))
    turns: Iterator[ProtectedLayer] = cycle(layers[index] for index in order)
    damage = {"block": _block, "row": _row, "column": _column}[pattern]

    def with_error() -> Tensor:
        with _spoiled(protected, next(turns), damage):
            return call()

    return with_error


Damage = Callable[[ProtectedLayer, Tensor], None]


@contextmanager
def _spoiled(protected: Protected, layer: ProtectedLayer, damage: Damage) -> Iterator[None]:
    """The next product of ``layer`` is damaged once; a recomputation is sound."""
    waiting = [damage]

    def spoil(out: Tensor) -> None:
        if waiting:
            waiting.pop()(layer, layer.canonical(out))

    fused = protected.fast.layer(layer.name) if protected.fast is not None else None
    if fused is None:
        handle = layer.fault_site.register_forward_hook(lambda site, args, out: spoil(out))
        try:
            yield
        finally:
            handle.remove()
        return
    multiply = fused.multiply

    def spoiled(x: Tensor) -> Tensor:
        out = multiply(x)
        spoil(out)
        return out

    fused.multiply = spoiled  # type: ignore[method-assign]
    try:
        yield
    finally:
        del fused.multiply


def _error(blocks: Tensor) -> float:
    return 10 * float(blocks.abs().max()) + 1


def _middle(blocks: Tensor) -> tuple[int, ...]:
    return tuple(size // 2 for size in blocks.shape[2:])


def _block(layer: ProtectedLayer, blocks: Tensor) -> None:
    blocks[(0, 0, *_middle(blocks))] += _error(blocks)


def _row(layer: ProtectedLayer, blocks: Tensor) -> None:
    window = layer.window()
    reach = [-(-k // s) for k, s in zip(window.size, window.stride, strict=True)]
    near: Any = tuple(slice(at, at + many) for at, many in zip(_middle(blocks), reach, strict=False))
    part = blocks[(0, slice(None), *near)]
    part += _error(blocks) * torch.linspace(1, 2.3, len(part)).view(-1, *[1] * (part.dim() - 1))


def _column(layer: ProtectedLayer, blocks: Tensor) -> None:
    part = blocks[:, 0]
    part += _error(blocks) * torch.linspace(1, 2.3, part.numel()).view(part.shape)
