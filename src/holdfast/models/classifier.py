"""The form that torchvision's convolutional classifiers share: features, pooling, linear layers."""

from __future__ import annotations

from torch import Tensor, nn

from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm, norm_layer
from holdfast.models.scaling import InputScaling


class Classifier(nn.Module):
    """``scaling`` → ``features`` → ``avgpool`` → ``classifier`` → ``last_norm``, under torchvision's names.

    Input float32 (N, C, H, W); output logits (N, classes).
    """

    def __init__(
        self,
        config: ModelConfig,
        features: nn.Module,
        avgpool: nn.Module,
        classifier: nn.Module,
        *,
        input_norm: bool,
        compress: str,
    ) -> None:
        super().__init__()
        self.scaling = InputScaling.of(config, compress, input_norm)
        self.features = features
        self.avgpool = avgpool
        self.classifier = classifier
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        maps = self.avgpool(self.features(self.scaling(x)))
        logits: Tensor = self.last_norm(self.classifier(maps.flatten(1)))
        return logits


def convolution(narrow: int, wide: int, kernel: int, stride: int, padding: int, norm: str) -> list[nn.Module]:
    """A convolution with bias, ``norm`` where that is not ``none``, ReLU."""
    norms = [] if norm == "none" else [norm_layer(norm, wide)]
    return [nn.Conv2d(narrow, wide, kernel, stride, padding), *norms, nn.ReLU()]
