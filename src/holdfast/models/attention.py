"""Multi-head self-attention, its four linear layers and its two products in plain sight."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from holdfast.core.errors import UsageError


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V over ``heads`` heads of d = ``dim``/``heads`` channels (arXiv 1706.03762, eq. 1).

    Tokens (N, T, ``dim``) in and out. Raises UsageError if ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UsageError("heads", expected=f"a divisor of dim {dim}", got=heads)
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, ``dim``), each a mix of all."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.dropout(self.proj(mixed.transpose(1, 2).flatten(2)))
        return result
