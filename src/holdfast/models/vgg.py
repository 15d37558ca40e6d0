"""VGG (Simonyan and Zisserman 2015, arXiv 1409.1556): 3×3 convolutions and three linear layers."""

from __future__ import annotations

from torch import nn

from holdfast.models.classifier import Classifier, convolution
from holdfast.models.config import ModelConfig
from holdfast.models.initial import he_normal
from holdfast.models.zoo import check_dropout, check_size, refuse, registry, scaled

PLANES = (64, 128, 256, 512, 512)
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions a stage; a 2×2 maximum ends each stage."""


class VGG(Classifier):
    """VGG with ``depth`` layers of weights; ``norm="batch"`` is the variant with batch normalisation.

    Input float32 (N, C, H, W), any size from 32; output logits (N, classes). Layer names are those of
    torchvision's state dicts (features.0 … classifier.6), with and without norms.
    """

    def __init__(
        self,
        config: ModelConfig,
        depth: int,
        *,
        width: float = 1.0,
        dropout: float = 0.5,
        input_norm: bool = False,
        compress: str = "none",
    ) -> None:
        refuse(config, "stem")
        check_size(config, 32)
        norm, share = config.norm or "none", check_dropout(dropout)
        layers: list[nn.Module] = []
        before = config.in_channels
        for planes, count in zip(PLANES, DEPTHS[depth], strict=True):
            for _ in range(count):
                wide = scaled(width, planes)
                layers += convolution(before, wide, 3, 1, 1, norm)
                before = wide
            layers.append(nn.MaxPool2d(2))
        hidden = scaled(width, 4096)
        classifier = nn.Sequential(
            nn.Linear(before * 49, hidden),
            nn.ReLU(),
            nn.Dropout(share),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(share),
            nn.Linear(hidden, config.classes),
        )
        features, pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(7)
        super().__init__(config, features, pool, classifier, input_norm=input_norm, compress=compress)
        he_normal(self)


def _family(depth: int) -> None:
    def build(
        config: ModelConfig,
        *,
        width: float = 1.0,
        dropout: float = 0.5,
        input_norm: bool = False,
        compress: str = "none",
    ) -> VGG:
        return VGG(config, depth, width=width, dropout=dropout, input_norm=input_norm, compress=compress)

    registry.register(f"vgg{depth}")(build)


for _depth in DEPTHS:
    _family(_depth)
