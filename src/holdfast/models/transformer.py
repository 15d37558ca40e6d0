"""What the vision transformers share: blocks, and the way from patches to logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig
from holdfast.models.norms import logits_norm
from holdfast.models.positions import add_positions
from holdfast.models.scaling import InputScaling
from holdfast.models.sizes import divisors, fit_size, padding
from holdfast.models.zoo import check_dropout, refuse

POOLS = ("class", "mean")
MakeAttention = Callable[[int], nn.Module]
"""Makes the attention of one block, for a number of tokens."""


class PatchTransformer(nn.Module):
    """Linear embedding of patches, positions, ``depth`` pre-norm blocks, one linear layer.

    Input float32 (N, C, H, W) with H = W = ``config.size``; output logits (N, classes), read from a class
    token before the others (``pool="class"``) or from the mean over tokens (``"mean"``). ``mlp`` is the
    hidden width of a block's two-layer perceptron. ``patch`` divides the size, or with ``pad`` the scaled
    image is padded with zeros. ``shifted`` embeds beside each patch those of four copies of the image,
    moved by half a patch. ``input_norm`` and ``compress`` are described in InputScaling. Raises UsageError
    for other values.
    """

    positions: Tensor

    def __init__(
        self,
        config: ModelConfig,
        attention: MakeAttention,
        *,
        patch: int,
        dim: int,
        depth: int,
        mlp: int,
        pool: str,
        positions: str,
        dropout: float,
        pad: bool,
        shifted: bool,
        input_norm: bool,
        compress: str,
    ) -> None:
        super().__init__()
        refuse(config, "stem", "norm")
        check_counts(patch=patch, dim=dim, depth=depth, mlp=mlp)
        if pool not in POOLS:
            raise UsageError("pool", expected=f"one of {', '.join(POOLS)}", got=repr(pool))
        share = check_dropout(dropout)
        whole = padded_to_patches(config, patch, pad)
        side, extra = whole // patch, int(pool == "class")
        self.scaling = InputScaling.of(config, compress, input_norm)
        self.shift = ShiftedCopies(patch // 2, config.size) if shifted else nn.Identity()
        pixels = config.in_channels * (5 if shifted else 1)
        self.embed = nn.Conv2d(pixels, dim, patch, patch, padding(config.size, whole))
        self.token = nn.Parameter(torch.empty(1, 1, dim)) if extra else None
        if self.token is not None:
            nn.init.trunc_normal_(self.token, std=0.02)
        add_positions(self, positions, side, dim, extra)
        self.dropout = nn.Dropout(share)
        tokens = side * side + extra
        self.blocks = nn.Sequential(*(Block(attention(tokens), dim, mlp, share) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, config.classes)
        self.last_norm = logits_norm(config.last_norm, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        tokens = self.embed(self.shift(self.scaling(x))).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(self.dropout(tokens + self.positions)))
        pooled = tokens[:, 0] if self.token is not None else tokens.mean(1)
        logits: Tensor = self.last_norm(self.head(pooled))
        return logits


class Block(nn.Module):
    """``attention`` and a two-layer perceptron, each behind a layer norm and beside a shortcut."""

    def __init__(self, attention: nn.Module, dim: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, ``dim``) of tokens of the same shape."""
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class ShiftedCopies(nn.Module):
    """Beside the image (N, C, ``side``, ``side``) four copies, moved diagonally by ``by`` pixels (N, 5C, …).

    Shifted patch tokens (arXiv 2112.13492, 3.1), without that paper's norm of each patch's pixels: it would
    take a patch's energy away.
    """

    def __init__(self, by: int, side: int) -> None:
        super().__init__()
        self.by, self.side = by, side

    def forward(self, x: Tensor) -> Tensor:
        """(N, 5C, side, side) of (N, C, side, side)."""
        wide = functional.pad(x, (self.by,) * 4)
        ends = (0, 2 * self.by)
        moved = [wide[:, :, r : r + self.side, c : c + self.side] for r in ends for c in ends]
        return torch.cat([x, *moved], 1)


def padded_to_patches(config: ModelConfig, patch: int, pad: bool) -> int:
    """Side of the image that is cut into patches. Raises UsageError if ``patch`` does not divide it."""
    small = [d for d in divisors(config.size) if 1 < d < config.size]
    hint = f"patch {' or '.join(map(str, small))} divides {config.size}" if small else ""
    return fit_size(config, lambda n: n % patch == 0, f"a multiple of {patch} (patch)", pad=pad, hint=hint)


def check_counts(**values: int) -> None:
    """Raise UsageError for a value that is no integer >= 1."""
    for label, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(label, expected="an integer >= 1", got=repr(value))
