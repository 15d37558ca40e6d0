"""SimpleViT (Beyer, Zhai and Kolesnikov 2022, arXiv 2205.01580)."""

from __future__ import annotations

from holdfast.models.attention import Attention
from holdfast.models.config import ModelConfig
from holdfast.models.transformer import PatchTransformer, check_counts
from holdfast.models.zoo import registry


@registry.register("simple_vit")
class SimpleViT(PatchTransformer):
    """A ViT with fixed positions on a grid, the mean over tokens instead of a class token, and no dropout.

    (The proposal that this zoo follows names SimpleViT and cites another paper, SimViT, arXiv 2112.13085,
    whose attention slides windows; the library it takes its models from means this one.) Options are
    described in PatchTransformer.
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
        pad: bool = False,
        input_norm: bool = True,
        compress: str = "sqrt",
    ) -> None:
        check_counts(heads=heads)
        super().__init__(
            config,
            lambda tokens: Attention(dim, heads),
            patch=patch,
            dim=dim,
            depth=depth,
            mlp=mlp,
            pool="mean",
            positions="grid",
            dropout=0.0,
            pad=pad,
            shifted=False,
            input_norm=input_norm,
            compress=compress,
        )
