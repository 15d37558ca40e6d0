"""Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), small enough for detector images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.attention import Attention
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.scaling import InputScaling
from holdfast.models.zoo import check_dropout, check_size, refuse, registry

POOLS = ("class", "mean")


@registry.register("vit")
class ViT(nn.Module):
    """Linear embedding of patches, learnable positions, ``depth`` pre-norm blocks, one linear layer.

    Input float32 (N, C, H, W) with H = W = ``config.size``, a multiple of ``patch``; output logits
    (N, classes), read from a class token or, with ``pool="mean"``, from the mean over tokens. ``mlp`` is the
    hidden width of a block's two-layer perceptron. ``input_norm`` and ``compress`` are described in
    InputScaling. Raises UsageError for other values.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        patch: int = 4,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        mlp: int = 128,
        pool: str = "class",
        dropout: float = 0.1,
        input_norm: bool = True,
        compress: str = "sqrt",
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm")
        for label, value in (
            ("patch", patch),
            ("dim", dim),
            ("depth", depth),
            ("heads", heads),
            ("mlp", mlp),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(label, expected="an integer >= 1", got=repr(value))
        if pool not in POOLS:
            raise UsageError("pool", expected=f"one of {', '.join(POOLS)}", got=repr(pool))
        share = check_dropout(dropout)
        side = check_size(config, patch, patch) // patch
        with_token = pool == "class"
        self.scaling = InputScaling.of(config, compress, input_norm)
        self.embed = nn.Conv2d(config.in_channels, dim, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, dim)) if with_token else None
        self.positions = nn.Parameter(torch.empty(1, side * side + with_token, dim))
        self.dropout = nn.Dropout(share)
        self.blocks = nn.Sequential(*(Block(dim, heads, mlp, share) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)
        for learnt in (self.token, self.positions):
            if learnt is not None:
                nn.init.trunc_normal_(learnt, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        tokens = self.embed(self.scaling(x)).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(self.dropout(tokens + self.positions)))
        pooled = tokens[:, 0] if self.token is not None else tokens.mean(1)
        logits: Tensor = self.last_norm(self.head(pooled))
        return logits


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and beside a shortcut."""

    def __init__(self, dim: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, ``dim``) of tokens of the same shape."""
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result
