"""Positions of tokens: learnt, or fixed sines and cosines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError

POSITIONS = ("learnable", "sinusoidal", "grid")
_PERIODS = 10000.0


def sinusoidal(tokens: int, dim: int) -> Tensor:
    """(1, ``tokens``, ``dim``): sin(t / 10000^(2i/d)) in channel 2i, cos in 2i+1 (arXiv 1706.03762, 3.5).

    Raises UsageError for an odd ``dim``.
    """
    if dim % 2:
        raise UsageError("dim", expected="an even number, for sinusoidal positions", got=dim)
    angles = torch.arange(tokens)[:, None] / _PERIODS ** (torch.arange(0, dim, 2) / dim)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None].float()


def grid(side: int, dim: int) -> Tensor:
    """(1, ``side``², ``dim``), row by row: sin x, cos x, sin y, cos y of d/4 frequencies each.

    From 1 down to 1/10000 (arXiv 2205.01580, appendix). Raises UsageError unless 4 divides ``dim`` > 4.
    """
    if dim % 4 or dim < 8:
        raise UsageError("dim", expected="a multiple of 4, at least 8, for grid positions", got=dim)
    quarter = dim // 4
    rates = _PERIODS ** -(torch.arange(quarter) / (quarter - 1))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.flatten()[:, None] * rates for axis in (x, y)]
    return torch.cat([wave for a in angles for wave in (a.sin(), a.cos())], 1)[None].float()


def add_positions(model: nn.Module, kind: str, side: int, dim: int, extra: int = 0) -> None:
    """Give ``model`` a ``positions`` (1, ``extra`` + ``side``², ``dim``): a parameter, or a fixed buffer.

    ``extra`` counts tokens before those of the image; on a grid they have no position. Fixed positions are
    no part of the state dict. Raises UsageError for an unknown ``kind``.
    """
    tokens = extra + side * side
    if kind == "learnable":
        learnt = nn.Parameter(torch.empty(1, tokens, dim))
        nn.init.trunc_normal_(learnt, std=0.02)
        model.register_parameter("positions", learnt)
    elif kind == "sinusoidal":
        model.register_buffer("positions", sinusoidal(tokens, dim), persistent=False)
    elif kind == "grid":
        fixed = torch.cat([torch.zeros(1, extra, dim), grid(side, dim)], 1)
        model.register_buffer("positions", fixed, persistent=False)
    else:
        raise UsageError("positions", expected=f"one of {', '.join(POSITIONS)}", got=repr(kind))
