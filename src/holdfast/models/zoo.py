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
    norm: str | None = None,
    last_norm: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **extra: Any,
) -> nn.Module:
    """Make an untrained model: float32 (N, ``in_channels``, ``size``, ``size``) to logits (N, ``classes``).

    ``stem`` is the first stage, ``norm`` the normalisation after each convolution (``batch``,
    ``batch_no_affine``, ``none``); None: the family's own. ``last_norm`` adds one on the logits. ``mean`` and
    ``std`` (one a channel, in pixel units) are taken out inside the model, ``extra`` are the family's own
    options. A detector (``yolov2``) gives a map instead of logits.
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


def check_dropout(dropout: float) -> float:
    """``dropout`` if it is a share below 1. Raises UsageError."""
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UsageError("dropout", expected="a number in [0, 1)", got=repr(dropout))
    return float(dropout)


def check_size(config: ModelConfig, least: int, multiple: int = 1) -> int:
    """``config.size`` if the family can halve it as often as it does. Raises UsageError."""
    if config.size < least or config.size % multiple:
        of = f", a multiple of {multiple}" if multiple > 1 else ""
        raise UsageError(f"size of model {config.name!r}", expected=f">= {least}{of}", got=config.size)
    return config.size


def refuse(config: ModelConfig, *fields: str) -> None:
    """Raise UsageError if one of ``fields`` was given to a family that leaves no choice of it."""
    for field in fields:
        value = getattr(config, field)
        if value not in (None, False):
            raise UsageError(
                f"{field} of model {config.name!r}", expected="none: it has no choice", got=value
            )


def scaled(width: float, channels: int) -> int:
    """``channels`` times ``width``, at least 1. Raises UsageError for a width that is no positive number."""
    return max(1, round(check_width(width) * channels))


def small_stem(stem: str | None) -> bool:
    """Whether ``stem`` is ``cifar``, made for 32×32 images; ``imagenet`` is the default."""
    if stem not in (None, "imagenet", "cifar"):
        raise UsageError("stem", expected="imagenet or cifar", got=repr(stem))
    return stem == "cifar"


def stem_stride(stem: str | None) -> int:
    """Stride of the first convolution: ``full`` (the default) keeps the resolution, ``half`` halves it."""
    strides = {None: 1, "full": 1, "half": 2}
    if stem not in strides:
        raise UsageError("stem", expected="full or half", got=repr(stem))
    return strides[stem]
