"""The small conv net on which masks are searched: a few strided 3×3 convolutions and one linear layer."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from holdfast.models.cnn import ConvBlock
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import registry, scaled, stem_stride

WIDTHS = (16, 32, 64, 128)


@registry.register("convnet")
class ConvNet(nn.Module):
    """Four 3×3 convolutions with norm and ReLU, each but the first halving the map, and one linear layer.

    Input float32 (N, C, H, W) with H = W = ``config.size``, any size from 1; output logits (N, classes).
    ``width`` scales all channel counts (1: 98k weights at 8×8×1 and 10 classes). With ``stem="half"`` the
    first convolution halves the map too.
    """

    def __init__(
        self, config: ModelConfig, *, width: float = 1.0, input_norm: bool = False, compress: str = "none"
    ) -> None:
        super().__init__()
        norm = config.norm or "batch"
        channels = [config.in_channels, *(scaled(width, n) for n in WIDTHS)]
        self.scaling = InputScaling.of(config, compress, input_norm)
        side, blocks = config.size, []
        for index, (narrow, wide) in enumerate(pairwise(channels)):
            stride = stem_stride(config.stem) if index == 0 else 2
            blocks.append(ConvBlock(narrow, wide, stride=stride, norm=norm, pool=False))
            side = -(-side // stride)
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels[-1] * side * side, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        logits: Tensor = self.last_norm(self.classifier(self.blocks(self.scaling(x)).flatten(1)))
        return logits
