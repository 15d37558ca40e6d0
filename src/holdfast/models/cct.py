"""Compact convolutional transformer (Hassani et al. 2021, arXiv 2104.05704)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from holdfast.models.attention import Attention
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.positions import add_positions
from holdfast.models.scaling import InputScaling
from holdfast.models.transformer import Block, check_counts
from holdfast.models.zoo import check_dropout, refuse, registry

STEM = 64
"""Channels between the tokenizer's convolutions."""


@registry.register("cct")
class CCT(nn.Module):
    """Convolutions make the tokens, attention weighs them in the end.

    Input float32 (N, C, H, W) with H = W = ``config.size``, any size from 1; output logits (N, classes). Each
    of ``convs`` steps of the tokenizer (3×3 convolution without bias, ReLU, 3×3 maximum of stride 2) halves
    the map, rounding up: 8×8 tokens of 32×32 pixels by two, of 125×125 by four. ``dim=128, heads=2, mlp=128``
    with ``depth`` 2 or 4 is the paper's CCT-2/3×2 or CCT-4/3×2.
    """

    positions: Tensor

    def __init__(
        self,
        config: ModelConfig,
        *,
        convs: int = 2,
        dim: int = 64,
        depth: int = 4,
        heads: int = 2,
        mlp: int = 128,
        positions: str = "learnable",
        dropout: float = 0.1,
        input_norm: bool = True,
        compress: str = "sqrt",
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm")
        check_counts(convs=convs, dim=dim, depth=depth, heads=heads, mlp=mlp)
        share = check_dropout(dropout)
        planes = [config.in_channels, *[STEM] * (convs - 1), dim]
        self.scaling = InputScaling.of(config, compress, input_norm)
        self.tokenizer = nn.Sequential(*(Tokenizer(narrow, wide) for narrow, wide in pairwise(planes)))
        side = config.size
        for _ in range(convs):
            side = (side + 1) // 2
        add_positions(self, positions, side, dim)
        self.dropout = nn.Dropout(share)
        self.blocks = nn.Sequential(
            *(Block(Attention(dim, heads, share), dim, mlp, share) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.pool = SequencePool(dim)
        self.head = nn.Linear(dim, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        tokens = self.tokenizer(self.scaling(x)).flatten(2).transpose(1, 2)
        tokens = self.norm(self.blocks(self.dropout(tokens + self.positions)))
        logits: Tensor = self.last_norm(self.head(self.pool(tokens)))
        return logits


class Tokenizer(nn.Module):
    """One step of the tokenizer: it halves (N, ``narrow``, H, W), rounding up."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, ``wide``, ⌈H/2⌉, ⌈W/2⌉)."""
        maps: Tensor = self.pool(self.relu(self.conv(x)))
        return maps


class SequencePool(nn.Module):
    """softmax(g(x))ᵀ x over tokens, with g a linear layer to one number (eq. 5)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ``dim``) of tokens (N, T, ``dim``)."""
        weights = self.weigh(x).softmax(1)
        pooled: Tensor = weights.transpose(1, 2) @ x
        return pooled.flatten(1)
