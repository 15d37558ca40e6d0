"""The two attentions of ScalableViT (Yang et al. 2022, arXiv 2203.10790), and its positions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.models.attention import Attention, join_heads, split_heads


class ScalableAttention(nn.Module):
    """SSA (3.1): every token of the map sees a map of ``window``² keys and values, whatever the map's size.

    Tokens (N, ``side``², ``dim``) in and out. Keys and values come from the map after a depthwise convolution
    of stride ``side``/``window``, a 1×1 convolution, a layer norm and a GELU; queries and keys have
    ``ratio``·``dim`` channels. ``window`` divides ``side``. Raises UsageError unless ``heads`` divides both
    numbers of channels.
    """

    def __init__(self, dim: int, heads: int, side: int, window: int, ratio: float, dropout: float) -> None:
        super().__init__()
        inner, stride = int(dim * ratio), side // window
        if dim % heads or inner % heads:
            raise UsageError("heads", expected=f"a divisor of {dim} and of ratio·dim {inner}", got=heads)
        self.heads, self.side = heads, side
        self.q = nn.Linear(dim, inner)
        self.shrink = nn.Sequential(nn.Conv2d(dim, dim, stride, stride, groups=dim), nn.Conv2d(dim, inner, 1))
        self.norm = nn.Sequential(nn.LayerNorm(inner), nn.GELU())
        self.k = nn.Linear(inner, inner)
        self.v = nn.Linear(inner, dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, ``side``², ``dim``)."""
        few = self.norm(to_tokens(self.shrink(to_map(x, self.side))))
        q, k, v = (split_heads(part, self.heads) for part in (self.q(x), self.k(few), self.v(few)))
        mixed = join_heads(functional.scaled_dot_product_attention(q, k, v))
        result: Tensor = self.dropout(self.proj(mixed))
        return result


class WindowAttention(Attention):
    """IWSA (3.2): attention within windows, plus a depthwise 3×3 convolution of all values across them.

    Tokens (N, ``side``², ``dim``) in and out; windows of ``window``² tokens; ``window`` divides ``side``.
    """

    def __init__(self, dim: int, heads: int, side: int, window: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        self.side, self.window = side, window
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, ``side``², ``dim``)."""
        q, k, v = self.q(x), self.k(x), self.v(x)
        within = self.mix(*(split_heads(self._cut(part), self.heads) for part in (q, k, v)))
        across = to_tokens(self.local(to_map(v, self.side)))
        result: Tensor = self.dropout(self.proj(self._join(join_heads(within)) + across))
        return result

    def _cut(self, x: Tensor) -> Tensor:
        """(N·windows, ``window``², dim) of tokens."""
        n, w = self.side // self.window, self.window
        return x.reshape(-1, n, w, n, w, x.shape[-1]).transpose(2, 3).reshape(-1, w * w, x.shape[-1])

    def _join(self, x: Tensor) -> Tensor:
        """Tokens of ``_cut``'s windows."""
        n, w = self.side // self.window, self.window
        return x.reshape(-1, n, n, w, w, x.shape[-1]).transpose(2, 3).reshape(-1, self.side**2, x.shape[-1])


class PositionGenerator(nn.Module):
    """PEG (arXiv 2102.10882): tokens plus a depthwise 3×3 convolution of their map, which sees its edge."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, ``side``², ``dim``) of tokens of that shape."""
        return x + to_tokens(self.conv(to_map(x, self.side)))


def to_map(x: Tensor, side: int) -> Tensor:
    """(N, C, ``side``, ``side``) of tokens (N, ``side``², C), row by row."""
    maps: Tensor = x.transpose(1, 2).unflatten(2, (side, side))  # type: ignore[no-untyped-call]
    return maps


def to_tokens(x: Tensor) -> Tensor:
    """Tokens (N, H·W, C) of a map (N, C, H, W), row by row."""
    return x.flatten(2).transpose(1, 2)
