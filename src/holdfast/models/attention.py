"""Multi-head self-attention, its four linear layers and its two products in plain sight."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast.core.errors import UsageError


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V over ``heads`` heads of d channels (arXiv 1706.03762, eq. 1).

    d is ``head_dim``, or ``dim``/``heads``. Tokens (N, T, ``dim``) in and out. Raises UsageError if no
    ``head_dim`` is given and ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0, head_dim: int | None = None) -> None:
        super().__init__()
        if heads < 1 or (head_dim is None and dim % heads):
            raise UsageError("heads", expected=f"a divisor of dim {dim}", got=heads)
        self.heads = heads
        self.head_dim = head_dim or dim // heads
        inner = heads * self.head_dim
        self.q = nn.Linear(dim, inner)
        self.k = nn.Linear(dim, inner)
        self.v = nn.Linear(dim, inner)
        self.proj = nn.Linear(inner, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, ``dim``), each a mix of all."""
        q, k, v = (split_heads(part(x), self.heads) for part in (self.q, self.k, self.v))
        result: Tensor = self.dropout(self.proj(join_heads(self.mix(q, k, v))))
        return result

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(N, heads, T, d) of queries, keys and values of that shape."""
        return functional.scaled_dot_product_attention(q, k, v)


class LocalityAttention(Attention):
    """Attention for small training sets: no token sees itself, and √d is learnt (arXiv 2112.13492, 3.2).

    For a fixed number of ``tokens``, at least 2.
    """

    hidden: Tensor

    def __init__(
        self, dim: int, heads: int, tokens: int, dropout: float = 0.0, head_dim: int | None = None
    ) -> None:
        super().__init__(dim, heads, dropout, head_dim)
        if tokens < 2:
            raise UsageError("locality", expected="at least two tokens", got=tokens)
        self.scale = nn.Parameter(torch.tensor(1 / math.sqrt(self.head_dim)))
        diagonal = torch.zeros(tokens, tokens).fill_diagonal_(-math.inf)
        self.register_buffer("hidden", diagonal, persistent=False)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(N, heads, T, d) of queries, keys and values of that shape."""
        return functional.scaled_dot_product_attention(q * self.scale, k, v, attn_mask=self.hidden, scale=1.0)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(N, ``heads``, T, d) of tokens (N, T, ``heads``·d)."""
    split: Tensor = x.unflatten(-1, (heads, -1))  # type: ignore[no-untyped-call]
    return split.transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Tokens (N, T, heads·d) of (N, heads, T, d)."""
    return x.transpose(1, 2).flatten(2)
