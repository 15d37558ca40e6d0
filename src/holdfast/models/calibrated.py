"""A model whose logits are divided by a temperature (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig
from holdfast.models.ensemble import member_options, shape_of
from holdfast.models.zoo import create, refuse, registry


@registry.register("calibrated")
class Calibrated(nn.Module):
    """logits / ``temperature`` of ``model``: other confidences, the same decisions and the same ROC-AUC.

    Input float32 (N, C, H, W), output logits (N, classes). ``model`` is a name, or a mapping with a ``name``
    and that model's options. Raises UsageError for a temperature that is not a positive number.
    """

    def __init__(
        self, config: ModelConfig, *, model: str | Mapping[str, Any] = "cnn", temperature: float = 1.0
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm", "last_norm", "mean", "std")
        if not (isfinite(temperature) and temperature > 0):
            raise UsageError("temperature", expected="a finite number > 0", got=temperature)
        described = {"name": model} if isinstance(model, str) else dict(model)
        self.model = create(**{**shape_of(config), **described})
        self.temperature = float(temperature)

    @classmethod
    def of(cls, model: nn.Module, temperature: float) -> Calibrated:
        """``model`` (made by ``models.create``; kept, not copied) at ``temperature``. Raises UsageError."""
        config = getattr(model, "config", None)
        if not isinstance(config, ModelConfig):
            raise UsageError(
                "calibration", expected="a model made by models.create", got=type(model).__name__
            )
        with torch.device("meta"):
            made = create(
                "calibrated", **shape_of(config), model=member_options(config), temperature=temperature
            )
        assert isinstance(made, Calibrated)
        made.model = model
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        logits: Tensor = self.model(x) / self.temperature
        return logits
