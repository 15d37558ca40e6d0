"""YOLOv2 (Redmon and Farhadi 2017, arXiv 1612.08242): Darknet-19 trunk, passthrough, one detection map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, cat, nn

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig
from holdfast.models.initial import he_normal
from holdfast.models.norms import norm_layer
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import check_size, refuse, registry, scaled

FINE = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512))
"""Channels of the convolutions before the passthrough; a 2×2 maximum stands between the groups."""
COARSE = (1024, 512, 1024, 512, 1024)
HEAD = 1024
PASSED = 64
STRIDE = 32


@registry.register("yolov2")
class YOLOv2(nn.Module):
    """The detector's network: 50.7 M parameters for 20 classes and 5 anchors.

    Input float32 (N, C, H, W), H = W a multiple of 32 (416 in the paper); output the raw detection map
    (N, anchors·(5 + classes), H/32, W/32), channels of an anchor together: x, y, w, h, objectness, classes.
    The passthrough layer moves 2×2 pixels into channels (``pixel_unshuffle``: channel c becomes 4c … 4c+3;
    Darknet's files order them otherwise, so the weights after it need a permutation).
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        anchors: int = 5,
        width: float = 1.0,
        input_norm: bool = False,
        compress: str = "none",
    ) -> None:
        super().__init__()
        refuse(config, "stem", "last_norm")
        check_size(config, STRIDE, STRIDE)
        if isinstance(anchors, bool) or not isinstance(anchors, int) or anchors < 1:
            raise UsageError("anchors", expected="an integer >= 1", got=repr(anchors))
        norm = config.norm or "batch"
        self.scaling = InputScaling.of(config, compress, input_norm)
        before = config.in_channels
        fine: list[nn.Module] = []
        for index, group in enumerate(FINE):
            fine += [nn.MaxPool2d(2)] if index else []
            planes = [scaled(width, each) for each in group]
            fine += _alternating(before, planes, norm)
            before = planes[-1]
        passed = scaled(width, PASSED)
        self.fine = nn.Sequential(*fine)
        self.passthrough = nn.Sequential(Convolution(before, passed, 1, norm), nn.PixelUnshuffle(2))
        planes = [scaled(width, each) for each in COARSE]
        head = scaled(width, HEAD)
        self.coarse = nn.Sequential(nn.MaxPool2d(2), *_alternating(before, planes, norm))
        self.head = nn.Sequential(Convolution(planes[-1], head, 3, norm), Convolution(head, head, 3, norm))
        self.join = Convolution(4 * passed + head, head, 3, norm)
        self.detect = nn.Conv2d(head, anchors * (5 + config.classes), 1)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Detection map (N, anchors·(5 + classes), H/32, W/32) of images (N, C, H, W)."""
        fine = self.fine(self.scaling(x))
        maps = cat([self.passthrough(fine), self.head(self.coarse(fine))], 1)
        result: Tensor = self.detect(self.join(maps))
        return result


class Convolution(nn.Module):
    """Convolution that keeps the size, normalisation, leaky ReLU with slope 0.1."""

    def __init__(self, narrow: int, wide: int, kernel: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, kernel, padding=kernel // 2, bias=norm == "none")
        self.norm = norm_layer(norm, wide)
        self.relu = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, ``wide``, H, W) of (N, ``narrow``, H, W)."""
        maps: Tensor = self.relu(self.norm(self.conv(x)))
        return maps


def _alternating(before: int, planes: Sequence[int], norm: str) -> list[Convolution]:
    """Darknet's 3×3 convolutions, alternating with 1×1 ones that narrow the maps."""
    widths = enumerate(pairwise((before, *planes)))
    return [Convolution(narrow, wide, 1 if place % 2 else 3, norm) for place, (narrow, wide) in widths]
