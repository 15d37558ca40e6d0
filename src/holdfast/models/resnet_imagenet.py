"""ResNet for large images (He et al. 2016, arXiv 1512.03385, section 4.1), and its form for 32×32."""

from __future__ import annotations

from torch import Tensor, nn

from holdfast.models.config import ModelConfig
from holdfast.models.initial import he_normal
from holdfast.models.norms import logits_norm, norm_layer
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import registry, scaled, small_stem

PLANES = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, narrow: int, planes: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = _conv(narrow, planes, 3, stride, norm)
        self.bn1 = norm_layer(norm, planes)
        self.conv2 = _conv(planes, planes, 3, 1, norm)
        self.bn2 = norm_layer(norm, planes)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(narrow, planes, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, ``planes``, H', W') of (N, ``narrow``, H, W)."""
        maps = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu(maps + self.downsample(x))
        return result


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut; the 3×3 has the stride, as in torchvision (v1.5)."""

    expansion = 4

    def __init__(self, narrow: int, planes: int, stride: int, norm: str) -> None:
        super().__init__()
        wide = planes * self.expansion
        self.conv1 = _conv(narrow, planes, 1, 1, norm)
        self.bn1 = norm_layer(norm, planes)
        self.conv2 = _conv(planes, planes, 3, stride, norm)
        self.bn2 = norm_layer(norm, planes)
        self.conv3 = _conv(planes, wide, 1, 1, norm)
        self.bn3 = norm_layer(norm, wide)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(narrow, wide, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 4·``planes``, H', W') of (N, ``narrow``, H, W)."""
        maps = self.relu(self.bn1(self.conv1(x)))
        maps = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(maps)))))
        result: Tensor = self.relu(maps + self.downsample(x))
        return result


BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """ResNet with ``depth`` layers of weights: four stages of 64, 128, 256 and 512 planes (times ``width``).

    Input float32 (N, C, H, W), any size from 1; output logits (N, classes). The stem is 7×7 with stride 2
    and a 3×3 maximum; ``stem="cifar"`` is a 3×3 convolution that keeps the resolution. Layer names are those
    of torchvision's state dicts (conv1, bn1, layer1.0.conv1, …, layer2.0.downsample.0, …, fc).
    """

    def __init__(
        self, config: ModelConfig, depth: int, *, width: float, input_norm: bool, compress: str
    ) -> None:
        super().__init__()
        block, counts = BLOCKS[depth]
        norm, small = config.norm or "batch", small_stem(config.stem)
        planes = [scaled(width, n) for n in PLANES]
        self.scaling = InputScaling.of(config, compress, input_norm)
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = _conv(config.in_channels, planes[0], kernel, stride, norm)
        self.bn1 = norm_layer(norm, planes[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        stages, before = [], planes[0]
        for number, (wide, count) in enumerate(zip(planes, counts, strict=True)):
            blocks = []
            for index in range(count):
                blocks.append(block(before, wide, 2 if number and index == 0 else 1, norm))
                before = wide * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(self.scaling(x)))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: Tensor = self.last_norm(self.fc(self.avgpool(maps).flatten(1)))
        return logits


def _conv(narrow: int, wide: int, kernel: int, stride: int, norm: str) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, kernel, stride, padding=kernel // 2, bias=norm == "none")


def _shortcut(narrow: int, wide: int, stride: int, norm: str) -> nn.Module:
    if narrow == wide and stride == 1:
        return nn.Identity()
    return nn.Sequential(_conv(narrow, wide, 1, stride, norm), norm_layer(norm, wide))


def _family(depth: int) -> None:
    def build(
        config: ModelConfig, *, width: float = 1.0, input_norm: bool = False, compress: str = "none"
    ) -> ResNet:
        return ResNet(config, depth, width=width, input_norm=input_norm, compress=compress)

    registry.register(f"resnet{depth}")(build)


for _depth in BLOCKS:
    _family(_depth)
