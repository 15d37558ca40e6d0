"""Input scaling inside the model, so that whoever stresses its input works in the data's own units."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig

COMPRESSIONS = ("none", "sqrt")
KNEE = 1e-4
"""Pixel value below which the square root is straightened: 5 MeV for energies in units of 50 GeV."""


class InputScaling(nn.Module):
    """Scale pixels (N, C, H, W) float32 in the data's units before the first layer, same shape out.

    In order: ``compress="sqrt"`` takes x / (sqrt(|x| + knee) + sqrt(knee)), an odd square root whose gradient
    stays finite at 0, so that small energies count; ``mean`` and ``std`` (one a channel) are removed and
    divided out; ``norm`` standardises each channel by batch statistics without affine parameters.

    Mean and std are no part of the state dict, so foreign ones load strictly. Raises UsageError for a wrong
    number of channels, a std that is not positive, or an unknown compression.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_channels: int,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        compress: str = "none",
        norm: bool = False,
    ) -> None:
        super().__init__()
        if compress not in COMPRESSIONS:
            raise UsageError("compress", expected=f"one of {', '.join(COMPRESSIONS)}", got=repr(compress))
        if std is not None and not all(value > 0 for value in std):
            raise UsageError("std", expected="positive numbers", got=std)
        self.compress = compress
        self.register_buffer("mean", _per_channel("mean", mean, in_channels, 0.0), persistent=False)
        self.register_buffer("std", _per_channel("std", std, in_channels, 1.0), persistent=False)
        self._shifts = mean is not None or std is not None
        # A plain mean over all batches: a moving one starts at variance 1 and forgets that too slowly for
        # pixels whose variance is 1e-4.
        self.norm = nn.BatchNorm2d(in_channels, affine=False, momentum=None) if norm else nn.Identity()

    @classmethod
    def of(cls, config: ModelConfig, compress: str, norm: bool) -> InputScaling:
        """The scaling of a model with ``config``."""
        return cls(config.in_channels, mean=config.mean, std=config.std, compress=compress, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Scale a batch."""
        if self.compress == "sqrt":
            x = x / ((x.abs() + KNEE).sqrt() + sqrt(KNEE))
        if self._shifts:
            x = (x - self.mean) / self.std
        scaled: Tensor = self.norm(x)
        return scaled


def _per_channel(name: str, values: Sequence[float] | None, channels: int, default: float) -> Tensor:
    if values is None:
        values = [default] * channels
    if len(values) != channels or not all(isfinite(value) for value in values):
        raise UsageError(name, expected=f"{channels} finite numbers, one a channel", got=list(values))
    return torch.tensor(values, dtype=torch.float32).view(1, channels, 1, 1)
