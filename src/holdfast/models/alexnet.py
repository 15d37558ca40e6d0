"""AlexNet (Krizhevsky et al. 2012), in one tower and as Caffe and oneDNN have it."""

from __future__ import annotations

from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.classifier import Classifier, convolution
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import check_dropout, check_size, refuse, registry, scaled


@registry.register("alexnet")
class AlexNet(Classifier):
    """The one-tower form (arXiv 1404.5997): 61.1 M parameters at 224×224×3 and 1000 classes.

    Input float32 (N, C, H, W), any size from 63; output logits (N, classes). Layer names and, without
    ``norm``, numbers are those of torchvision's state dict (features.0 … classifier.6).
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        width: float = 1.0,
        dropout: float = 0.5,
        input_norm: bool = False,
        compress: str = "none",
    ) -> None:
        refuse(config, "stem")
        check_size(config, 63)
        norm, share = config.norm or "none", check_dropout(dropout)
        a, b, c, d = (scaled(width, n) for n in (64, 192, 384, 256))
        hidden = scaled(width, 4096)
        features = nn.Sequential(
            *convolution(config.in_channels, a, 11, 4, 2, norm),
            nn.MaxPool2d(3, 2),
            *convolution(a, b, 5, 1, 2, norm),
            nn.MaxPool2d(3, 2),
            *convolution(b, c, 3, 1, 1, norm),
            *convolution(c, d, 3, 1, 1, norm),
            *convolution(d, d, 3, 1, 1, norm),
            nn.MaxPool2d(3, 2),
        )
        classifier = nn.Sequential(
            nn.Dropout(share),
            nn.Linear(d * 36, hidden),
            nn.ReLU(),
            nn.Dropout(share),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, config.classes),
        )
        pool = nn.AdaptiveAvgPool2d(6)
        super().__init__(config, features, pool, classifier, input_norm=input_norm, compress=compress)


@registry.register("alexnet_caffe")
class CaffeAlexNet(nn.Module):
    """AlexNet as oneDNN's example cnn_inference_f32 runs it: response normalisation, convolutions in groups.

    Input float32 (N, C, 227, 227); output logits (N, classes). conv2, conv4 and conv5 have ``groups`` groups.
    As in that example no ReLU stands between fc6, fc7 and fc8; ``fc_relu`` puts them there, as Caffe does.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        groups: int = 2,
        fc_relu: bool = False,
        input_norm: bool = False,
        compress: str = "none",
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm")
        if config.size != 227:
            raise UsageError(f"size of model {config.name!r}", expected="227", got=config.size)
        if isinstance(groups, bool) or groups not in (1, 2, 4, 8, 16, 32):
            raise UsageError("groups", expected="one of 1, 2, 4, 8, 16, 32", got=repr(groups))
        self.scaling = InputScaling.of(config, compress, input_norm)
        self.conv1 = nn.Conv2d(config.in_channels, 96, 11, 4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=groups)
        self.relu = nn.ReLU()
        self.response = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.pool = nn.MaxPool2d(3, 2)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, config.classes)
        self.fc_relu = nn.ReLU() if fc_relu else nn.Identity()
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, 227, 227)."""
        maps = self.pool(self.response(self.relu(self.conv1(self.scaling(x)))))
        maps = self.pool(self.response(self.relu(self.conv2(maps))))
        maps = self.relu(self.conv4(self.relu(self.conv3(maps))))
        maps = self.pool(self.relu(self.conv5(maps)))
        hidden = self.fc_relu(self.fc7(self.fc_relu(self.fc6(maps.flatten(1)))))
        logits: Tensor = self.last_norm(self.fc8(hidden))
        return logits
