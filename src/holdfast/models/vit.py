"""Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), small enough for detector images."""

from __future__ import annotations

from torch import nn

from holdfast.models.attention import Attention, LocalityAttention
from holdfast.models.config import ModelConfig
from holdfast.models.transformer import PatchTransformer, check_counts
from holdfast.models.zoo import check_dropout, registry


@registry.register("vit")
class ViT(PatchTransformer):
    """ViT: a class token, and positions that are learnt, ``sinusoidal`` (arXiv 1706.03762) or on a ``grid``.

    ``heads`` of ``head_dim`` channels each (None: ``dim``/``heads``). ``shifted`` and ``locality`` are
    the two helps for small training sets of arXiv 2112.13492. The rest is described in PatchTransformer.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        patch: int = 4,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        head_dim: int | None = None,
        mlp: int = 128,
        pool: str = "class",
        positions: str = "learnable",
        dropout: float = 0.1,
        pad: bool = False,
        shifted: bool = False,
        locality: bool = False,
        input_norm: bool = True,
        compress: str = "sqrt",
    ) -> None:
        check_counts(heads=heads, **({} if head_dim is None else {"head_dim": head_dim}))
        share = check_dropout(dropout)

        def attention(tokens: int) -> nn.Module:
            if locality:
                return LocalityAttention(dim, heads, tokens, share, head_dim)
            return Attention(dim, heads, share, head_dim)

        super().__init__(
            config,
            attention,
            patch=patch,
            dim=dim,
            depth=depth,
            mlp=mlp,
            pool=pool,
            positions=positions,
            dropout=share,
            pad=pad,
            shifted=shifted,
            input_norm=input_norm,
            compress=compress,
        )
