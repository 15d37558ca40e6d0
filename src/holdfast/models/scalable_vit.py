"""ScalableViT (Yang et al. 2022, arXiv 2203.10790), small enough for detector images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.scalable_attention import (
    PositionGenerator,
    ScalableAttention,
    WindowAttention,
    to_map,
    to_tokens,
)
from holdfast.models.scaling import InputScaling
from holdfast.models.sizes import divisors, fit_size, padding
from holdfast.models.transformer import Block, check_counts
from holdfast.models.zoo import check_dropout, refuse, registry


@registry.register("scalable_vit")
class ScalableViT(nn.Module):
    """Stages of maps of falling size, whose blocks attend within windows and to a shrunken map in turn.

    Input float32 (N, C, H, W) with H = W = ``config.size``; output logits (N, classes), from the mean over
    the last map. The first stage's map has a quarter of the image's side and each next one half, rounding up:
    32 → 8 → 4 → 2. A stage has ``depths`` blocks in the order of the authors' code: windows (IWSA) first,
    then the shrunken map (SSA), each followed by its perceptron, with the positions (PEG) after the first
    block. Its windows have the largest side of at most ``window`` that divides the map's, and SSA's keys form
    a map of that side (7 in the paper, where strides 8, 4, 2, 1 say the same). A size with a map that no
    window divides is refused, or the scaled image padded with zeros (``pad``). Raises UsageError.

    (vit-pytorch starts with SSA, and in its second half runs the perceptron before IWSA: its forward unpacks
    the two in the other order than they were made in.)
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        dims: Sequence[int] = (24, 48, 96),
        depths: Sequence[int] = (2, 2, 2),
        heads: Sequence[int] = (1, 2, 4),
        mlp_ratio: int = 2,
        window: int = 7,
        ratio: float = 1.25,
        dropout: float = 0.1,
        pad: bool = False,
        input_norm: bool = True,
        compress: str = "sqrt",
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm")
        if not dims or not len(dims) == len(depths) == len(heads):
            raise UsageError("dims, depths, heads", expected="equally many", got=(dims, depths, heads))
        for number in (*dims, *depths, *heads):
            check_counts(**{"dims, depths, heads": number})
        check_counts(mlp_ratio=mlp_ratio)
        if isinstance(window, bool) or not isinstance(window, int) or window < 2:
            raise UsageError("window", expected="an integer >= 2", got=repr(window))
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 8:
            raise UsageError("ratio", expected="a number in (0, 8]", got=repr(ratio))
        share, stages = check_dropout(dropout), len(dims)
        sides = ", ".join(map(str, map_sides(config.size, stages)))
        needs = f"its maps of sides {sides} to be divided by windows of sides 2 to {window}"
        whole = fit_size(config, lambda n: _divisible(map_sides(n, stages), window), needs, pad=pad)
        self.scaling = InputScaling.of(config, compress, input_norm)
        before, parts = config.in_channels, []
        for place, side in enumerate(map_sides(whole, stages)):
            dim, count, w = dims[place], heads[place], window_side(side, window)
            blocks: list[nn.Module] = []
            for index in range(depths[place]):
                attention = (
                    ScalableAttention(dim, count, side, w, ratio, share)
                    if index % 2
                    else WindowAttention(dim, count, side, w, share)
                )
                blocks.append(Block(attention, dim, mlp_ratio * dim, share))
                if index == 0:
                    blocks.append(PositionGenerator(dim, side))
            embed = (
                nn.Conv2d(before, dim, 3, 2, 1)
                if place
                else nn.Conv2d(before, dim, 7, 4, 3 + padding(config.size, whole))
            )
            parts.append(Stage(embed, dim, side, blocks))
            before = dim
        self.stages = nn.Sequential(*parts)
        self.norm = nn.LayerNorm(before)
        self.head = nn.Linear(before, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        tokens = to_tokens(self.stages(self.scaling(x)))
        logits: Tensor = self.last_norm(self.head(self.norm(tokens).mean(1)))
        return logits


class Stage(nn.Module):
    """Overlapping patches (7×7 of stride 4, later 3×3 of stride 2), norm, ``blocks``."""

    def __init__(self, embed: nn.Module, dim: int, side: int, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.side = side
        self.embed = embed
        self.norm = nn.LayerNorm(dim)
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ``dim``, ``side``, ``side``) of the image or of the stage before."""
        return to_map(self.blocks(self.norm(to_tokens(self.embed(x)))), self.side)


def map_sides(size: int, stages: int) -> list[int]:
    """Side of each stage's map: a quarter of the image's, then halves, rounding up."""
    sides = [-(-size // 4)]
    for _ in range(stages - 1):
        sides.append(-(-sides[-1] // 2))
    return sides


def window_side(side: int, most: int) -> int:
    """The largest divisor of ``side`` up to ``most``."""
    return max(d for d in divisors(side) if d <= most)


def _divisible(sides: Sequence[int], most: int) -> bool:
    return all(side == 1 or window_side(side, most) > 1 for side in sides)
