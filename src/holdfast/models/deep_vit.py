"""DeepViT (Zhou et al. 2021, arXiv 2103.11886): the heads' attention maps are mixed before their use."""

from __future__ import annotations

from torch import Tensor, nn

from holdfast.models.attention import Attention
from holdfast.models.config import ModelConfig
from holdfast.models.transformer import PatchTransformer, check_counts
from holdfast.models.zoo import check_dropout, registry


class ReAttention(Attention):
    """Norm(Θᵀ softmax(Q Kᵀ / √d)) V, with Θ (heads, heads) and a batch norm over heads (eq. 3)."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__(dim, heads, dropout)
        # A 1×1 convolution over heads is the product with Θᵀ, and a layer that protection knows.
        self.theta = nn.Conv2d(heads, heads, 1, bias=False)
        self.norm = nn.BatchNorm2d(heads)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(N, heads, T, d) of queries, keys and values of that shape."""
        maps = (q * self.head_dim**-0.5 @ k.transpose(-2, -1)).softmax(-1)
        mixed: Tensor = self.norm(self.theta(maps)) @ v
        return mixed


@registry.register("deep_vit")
class DeepViT(PatchTransformer):
    """A ViT with ReAttention in all of its blocks, eight by default; options as in PatchTransformer."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        patch: int = 4,
        dim: int = 64,
        depth: int = 8,
        heads: int = 4,
        mlp: int = 128,
        pool: str = "class",
        positions: str = "learnable",
        dropout: float = 0.1,
        pad: bool = False,
        input_norm: bool = True,
        compress: str = "sqrt",
    ) -> None:
        check_counts(heads=heads)
        share = check_dropout(dropout)
        super().__init__(
            config,
            lambda tokens: ReAttention(dim, heads, share),
            patch=patch,
            dim=dim,
            depth=depth,
            mlp=mlp,
            pool=pool,
            positions=positions,
            dropout=share,
            pad=pad,
            shifted=False,
            input_norm=input_norm,
            compress=compress,
        )
