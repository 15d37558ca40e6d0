"""The small conv net on which masks are searched: a few strided 3×3 convolutions and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.cnn import ConvBlock
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import refuse, registry, scaled

WIDTHS = (16, 32, 64, 128)


@registry.register("convnet")
class ConvNet(nn.Module):
    """Four 3×3 convolutions with norm and ReLU, of ``strides``, and one linear layer.

    Input float32 (N, C, H, W) with H = W = ``config.size``, any size from 1; output logits (N, classes).
    ``width`` scales all channel counts (1: 98k weights at 8×8×1 and 10 classes). With ``pool`` the linear
    layer sees the mean of each map instead of the whole map.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        width: float = 1.0,
        strides: Sequence[int] = (1, 2, 2, 2),
        pool: bool = False,
        input_norm: bool = False,
        compress: str = "none",
    ) -> None:
        super().__init__()
        refuse(config, "stem")
        if len(strides) != len(WIDTHS) or any(stride not in (1, 2) for stride in strides):
            raise UsageError("strides", expected=f"{len(WIDTHS)} numbers 1 or 2", got=strides)
        norm = config.norm or "batch"
        channels = [config.in_channels, *(scaled(width, n) for n in WIDTHS)]
        self.scaling = InputScaling.of(config, compress, input_norm)
        side, blocks = config.size, []
        for (narrow, wide), stride in zip(pairwise(channels), strides, strict=True):
            blocks.append(ConvBlock(narrow, wide, stride=stride, norm=norm, pool=False))
            side = -(-side // stride)
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1) if pool else nn.Identity()
        side = 1 if pool else side
        self.classifier = nn.Linear(channels[-1] * side * side, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        logits: Tensor = self.last_norm(self.classifier(self.pool(self.blocks(self.scaling(x))).flatten(1)))
        return logits
