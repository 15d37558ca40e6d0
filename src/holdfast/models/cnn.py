"""The small CNN for detector images: about 30,000 parameters at 32×32×2 (particle-vit seed, task 1)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm, norm_layer
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import check_dropout, registry, scaled, stem_stride

WIDTHS = (8, 16, 24, 32, 56)
POOL_AFTER = (0, 2)
GRID = 4
"""Side of the map that the classifier sees: a shower sits in the image's centre, so position counts."""


@registry.register("cnn")
class CNN(nn.Module):
    """Five 3×3 convolutions with normalisation and ReLU, two poolings, dropout, one linear layer.

    Input float32 (N, C, H, W) with H = W = ``config.size``, any size from 1; output logits (N, classes).
    ``width`` scales all channel counts (1: about 30k parameters, 8: a much larger model to estimate a ceiling
    with). ``input_norm`` and ``compress`` (``none``, ``sqrt``) are described in InputScaling.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        width: float = 1.0,
        dropout: float = 0.1,
        input_norm: bool = True,
        compress: str = "sqrt",
    ) -> None:
        super().__init__()
        norm = config.norm or "batch"
        channels = [config.in_channels, *(scaled(width, n) for n in WIDTHS)]
        self.scaling = InputScaling.of(config, compress, input_norm)
        side, blocks = config.size, []
        for index, (narrow, wide) in enumerate(pairwise(channels)):
            stride = stem_stride(config.stem) if index == 0 else 1
            pool = index in POOL_AFTER
            blocks.append(ConvBlock(narrow, wide, stride=stride, norm=norm, pool=pool))
            side = _half(side) if stride == 2 else side
            side = _half(side) if pool else side
        grid = min(GRID, side)
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.dropout = nn.Dropout(check_dropout(dropout))
        self.classifier = nn.Linear(channels[-1] * grid * grid, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        maps = self.pool(self.blocks(self.scaling(x)))
        logits: Tensor = self.last_norm(self.classifier(self.dropout(maps.flatten(1))))
        return logits


class ConvBlock(nn.Module):
    """3×3 convolution, normalisation, ReLU, and a 2×2 mean if ``pool``."""

    def __init__(self, narrow: int, wide: int, *, stride: int, norm: str, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, 3, stride, padding=1, bias=norm == "none")
        self.norm = norm_layer(norm, wide)
        self.relu = nn.ReLU()
        # Rounding up keeps the last row and column of odd sizes, and something of a 1×1 image.
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, ``wide``, H', W') of (N, ``narrow``, H, W)."""
        maps: Tensor = self.pool(self.relu(self.norm(self.conv(x))))
        return maps


def _half(side: int) -> int:
    return (side + 1) // 2
