"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from torch import Tensor, nn

from holdfast.models.classifier import Classifier
from holdfast.models.config import ModelConfig
from holdfast.models.initial import he_normal
from holdfast.models.norms import norm_layer
from holdfast.models.zoo import check_dropout, check_width, registry, small_stem

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of each stage (table 2 of the paper)."""
FIRST, LAST = 32, 1280


@registry.register("mobilenetv2")
class MobileNetV2(Classifier):
    """17 inverted residuals between two convolutions: 3.5 M parameters at 224×224×3 and 1000 classes.

    Input float32 (N, C, H, W), any size from 1; output logits (N, classes). ``width`` scales the channels to
    multiples of 8. ``stem="cifar"`` keeps the resolution in the first convolution and the second stage, for
    32×32. Layer names are those of torchvision's state dict (features.0.0 … classifier.1).
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        width: float = 1.0,
        dropout: float = 0.2,
        input_norm: bool = False,
        compress: str = "none",
    ) -> None:
        norm, small = config.norm or "batch", small_stem(config.stem)
        before = _eights(FIRST * check_width(width))
        layers: list[nn.Module] = [_convolution(config.in_channels, before, 3, 1 if small else 2, norm)]
        for number, (expansion, planes, count, step) in enumerate(STAGES):
            wide = _eights(planes * width)
            stride = 1 if small and number == 1 else step
            for index in range(count):
                layers.append(InvertedResidual(before, wide, stride if index == 0 else 1, expansion, norm))
                before = wide
        last = _eights(LAST * max(1.0, width))
        layers.append(_convolution(before, last, 1, 1, norm))
        features, pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1)
        classifier = nn.Sequential(nn.Dropout(check_dropout(dropout)), nn.Linear(last, config.classes))
        super().__init__(config, features, pool, classifier, input_norm=input_norm, compress=compress)
        he_normal(self)


class InvertedResidual(nn.Module):
    """1×1 to ``expansion`` times the channels, 3×3 within each of them, 1×1 back without activation.

    The input is added where the shape stays.
    """

    def __init__(self, narrow: int, wide: int, stride: int, expansion: int, norm: str) -> None:
        super().__init__()
        inner = narrow * expansion
        expand = [] if expansion == 1 else [_convolution(narrow, inner, 1, 1, norm)]
        self.conv = nn.Sequential(
            *expand,
            _convolution(inner, inner, 3, stride, norm, groups=inner),
            nn.Conv2d(inner, wide, 1, bias=norm == "none"),
            norm_layer(norm, wide),
        )
        self.adds = stride == 1 and narrow == wide

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, ``wide``, H', W') of (N, ``narrow``, H, W)."""
        maps: Tensor = self.conv(x)
        return x + maps if self.adds else maps


def _convolution(
    narrow: int, wide: int, kernel: int, stride: int, norm: str, groups: int = 1
) -> nn.Sequential:
    bias = norm == "none"
    convolution = nn.Conv2d(narrow, wide, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(convolution, norm_layer(norm, wide), nn.ReLU6())


def _eights(channels: float) -> int:
    """The nearest multiple of 8 that is at least 8 and no more than 10 % below ``channels``."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
