"""Small dense networks of a given size, to compare sparse ones with."""

from __future__ import annotations

from typing import Any

import torch

from holdfast import models
from holdfast.core.errors import UsageError

WIDEST = 64  # models.zoo allows no more
STEPS = 4096
"""Widths are multiples of 1 / STEPS."""


def matched_width(name: str, target_weights: int, **create_options: Any) -> float:
    """The largest ``width`` of the model ``name`` that has no more than ``target_weights`` parameters.

    ``create_options`` are further arguments of ``models.create``. To match the bytes of a packed network
    instead of its weights, give a quarter of them: a float32 parameter has four. Raises UsageError for a
    family without widths, and where the narrowest is too large.
    """
    if "width" not in models.options(name):
        raise UsageError(f"model {name!r}", expected="a family with an option width", got="one without")
    low, high = 1, STEPS
    smallest = parameters(name, low / STEPS, create_options)
    if smallest > target_weights:
        raise UsageError(f"weights of model {name!r}", expected=f"at least {smallest}", got=target_weights)
    while parameters(name, high / STEPS, create_options) <= target_weights:
        if high >= WIDEST * STEPS:
            return high / STEPS
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if parameters(name, middle / STEPS, create_options) <= target_weights:
            low = middle
        else:
            high = middle
    return low / STEPS


def parameters(name: str, width: float, create_options: dict[str, Any]) -> int:
    """Number of parameters of the model ``name``, which is not filled with values."""
    with torch.device("meta"):
        model = models.create(name, width=width, **create_options)
    return sum(parameter.numel() for parameter in model.parameters())
