"""``models.create``: one call makes any model of the zoo."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry
from holdfast.models.config import ModelConfig

Builder = Callable[..., nn.Module]
"""Makes a model from a ModelConfig, and from keyword-only options with defaults."""

registry: Registry[Builder] = Registry("model", "models")


def names() -> list[str]:
    """Names that ``create`` knows."""
    return registry.names()


def options(name: str) -> dict[str, Any]:
    """Options of the model ``name`` beyond ``create``'s own, with their defaults. Raises UnknownNameError."""
    parameters = inspect.signature(registry.get(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def create(
    name: str,
    *,
    in_channels: int,
    classes: int,
    size: int,
    stem: str | None = None,
    norm: str = "batch",
    last_norm: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **extra: Any,
) -> nn.Module:
    """Make an untrained model: float32 (N, ``in_channels``, ``size``, ``size``) to logits (N, ``classes``).

    ``stem`` is the first stage (None: the family's own), ``norm`` the normalisation after each convolution
    (``batch``, ``batch_no_affine``, ``none``), ``last_norm`` adds one on the logits. ``mean`` and ``std``
    (one a channel, in pixel units) are taken out inside the model, ``extra`` are the family's own options.
    Weights come from torch's global generator. The model carries ``.config``, a ModelConfig. Raises
    UsageError for unknown names, options and values.
    """
    builder = registry.get(name)
    known = options(name)
    unknown = sorted(set(extra) - set(known))
    if unknown:
        raise UsageError(
            f"unknown option of model {name!r}",
            expected=f"any of {', '.join(sorted(known)) or 'none'}",
            got=", ".join(unknown),
        )
    for label, value, least in (("in_channels", in_channels, 1), ("classes", classes, 2), ("size", size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"{label} of model {name!r}", expected=f"an integer >= {least}", got=value)
    config = ModelConfig(
        name=name,
        in_channels=in_channels,
        classes=classes,
        size=size,
        stem=stem,
        norm=norm,
        last_norm=last_norm,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        options=dict(extra),
    )
    model = builder(config, **extra)
    model.config = config  # type: ignore[assignment]
    return model


def check_width(width: float) -> float:
    """``width`` if it is a positive number. Raises UsageError."""
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 64:
        raise UsageError("width", expected="a number in (0, 64]", got=repr(width))
    return float(width)


def stem_stride(stem: str | None) -> int:
    """Stride of the first convolution: ``full`` (the default) keeps the resolution, ``half`` halves it."""
    strides = {None: 1, "full": 1, "half": 2}
    if stem not in strides:
        raise UsageError("stem", expected="full or half", got=repr(stem))
    return strides[stem]
