"""Which network is meant: a name for the data at hand, or the configuration of a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.models import ModelConfig


def network_config(
    model: str | nn.Module, info: Any, *, norm: str | None, last_norm: bool, whose: str
) -> ModelConfig:
    """The configuration of ``model``: its own, or that of a name for data described by ``info``.

    A name is made with ``norm`` and, with ``last_norm``, one on the logits. Raises UsageError, which names
    ``whose`` call it was, for images that are not square and for models that ``models.create`` did not make.
    """
    if isinstance(model, str):
        channels, height, width = info.shape
        if height != width:
            raise UsageError("images", expected="square ones", got=f"{height}×{width}")
        with torch.device("meta"):
            model = models.create(
                model,
                in_channels=channels,
                classes=len(info.classes),
                size=height,
                norm=norm,
                last_norm=last_norm,
            )
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        raise UsageError(whose, expected="a name or a model made by models.create", got=type(model).__name__)
    return config
