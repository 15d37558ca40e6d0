"""Normalisations that models take by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from holdfast.core.errors import UnknownNameError

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "batch_no_affine": lambda channels: nn.BatchNorm2d(channels, affine=False),
    "none": lambda channels: nn.Identity(),
}


def norm_layer(name: str, channels: int) -> nn.Module:
    """The normalisation ``name`` over (N, ``channels``, H, W). Raises UnknownNameError."""
    try:
        make = NORMS[name]
    except KeyError:
        raise UnknownNameError("norm", name, NORMS) from None
    return make(channels)


def logits_norm(last_norm: bool, classes: int) -> nn.Module:
    """Batch normalisation of the logits (N, ``classes``) without affine parameters, or nothing."""
    return nn.BatchNorm1d(classes, affine=False) if last_norm else nn.Identity()
