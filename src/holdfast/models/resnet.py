"""ResNet for 32×32 images (He et al. 2016, arXiv 1512.03385, section 4.2): 6n+2 layers, shortcuts A or B."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm, norm_layer
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import registry, scaled, stem_stride

PLANES = (16, 32, 64)


class ResNet(nn.Module):
    """Three stages of ``depth`` blocks with 16, 32 and 64 channels (times ``width``).

    Input float32 (N, C, H, W), any size from 1; output logits (N, classes). Layer names are those of the
    published CIFAR-10 state dicts (conv1, bn1, layer1.0.conv1 … linear), so these load strictly.
    """

    def __init__(
        self,
        config: ModelConfig,
        depth: int,
        *,
        width: float,
        input_norm: bool,
        compress: str,
        project: bool = False,
    ) -> None:
        super().__init__()
        norm = config.norm or "batch"
        planes = [scaled(width, n) for n in PLANES]
        self.scaling = InputScaling.of(config, compress, input_norm)
        self.conv1 = _conv(config.in_channels, planes[0], stem_stride(config.stem), norm)
        self.bn1 = norm_layer(norm, planes[0])
        self.layer1 = _stage(planes[0], planes[0], depth, 1, norm, project)
        self.layer2 = _stage(planes[0], planes[1], depth, 2, norm, project)
        self.layer3 = _stage(planes[1], planes[2], depth, 2, norm, project)
        self.linear = nn.Linear(planes[2], config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        maps = functional.relu(self.bn1(self.conv1(self.scaling(x))))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        logits: Tensor = self.last_norm(self.linear(maps.mean((2, 3))))
        return logits


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut: without parameters, or with ``project`` of option B."""

    def __init__(self, narrow: int, wide: int, stride: int, norm: str, project: bool = False) -> None:
        super().__init__()
        self.conv1 = _conv(narrow, wide, stride, norm)
        self.bn1 = norm_layer(norm, wide)
        self.conv2 = _conv(wide, wide, 1, norm)
        self.bn2 = norm_layer(norm, wide)
        self.shortcut: nn.Module = nn.Identity()
        if narrow != wide or stride != 1:
            self.shortcut = (
                _projection(narrow, wide, stride, norm) if project else PadShortcut(narrow, wide, stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, ``wide``, H', W') of (N, ``narrow``, H, W)."""
        maps = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(maps + self.shortcut(x))


class PadShortcut(nn.Module):
    """Option A: every ``stride``-th pixel, new channels filled with zeros on both sides."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (wide - narrow) // 2
        self.after = wide - narrow - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, wide, H', W') of (N, narrow, H, W)."""
        pixels = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(pixels, (0, 0, 0, 0, self.before, self.after))


@registry.register("resnet20")
def resnet20(
    config: ModelConfig, *, width: float = 1.0, input_norm: bool = False, compress: str = "none"
) -> ResNet:
    """ResNet-20: 0.27 M parameters at 32×32×3 and 10 classes."""
    return ResNet(config, 3, width=width, input_norm=input_norm, compress=compress)


@registry.register("resnet32")
def resnet32(
    config: ModelConfig, *, width: float = 1.0, input_norm: bool = False, compress: str = "none"
) -> ResNet:
    """ResNet-32: 0.46 M parameters at 32×32×3 and 10 classes."""
    return ResNet(config, 5, width=width, input_norm=input_norm, compress=compress)


@registry.register("resnet15")
def resnet15(
    config: ModelConfig, *, width: float = 1.0, input_norm: bool = True, compress: str = "sqrt"
) -> ResNet:
    """ResNet-15, the usual network for electrons and photons: 0.175 M parameters at 32×32×2.

    Three stages of two blocks, 16, 32 and 64 channels, and a projection where the channels change: 13 3×3
    convolutions and two 1×1 ones. Its layers are named as in the published notebooks (docs/models.md), whose
    images were scaled by a constant; here they are compressed and normalised unless told otherwise.
    """
    return ResNet(config, 2, width=width, input_norm=input_norm, compress=compress, project=True)


def _conv(narrow: int, wide: int, stride: int, norm: str) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, stride, padding=1, bias=norm == "none")


def _projection(narrow: int, wide: int, stride: int, norm: str) -> nn.Sequential:
    """Option B: a 1×1 convolution of ``stride``, and the norm."""
    return nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=norm == "none"), norm_layer(norm, wide))


def _stage(narrow: int, wide: int, depth: int, stride: int, norm: str, project: bool) -> nn.Sequential:
    first = BasicBlock(narrow, wide, stride, norm, project)
    return nn.Sequential(first, *(BasicBlock(wide, wide, 1, norm) for _ in range(depth - 1)))
