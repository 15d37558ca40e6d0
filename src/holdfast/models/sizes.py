"""Image sizes that a family can take, and what to do about the others."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from holdfast.core.errors import UsageError
from holdfast.models.config import ModelConfig


def fit_size(
    config: ModelConfig, fits: Callable[[int], bool], needs: str, *, pad: bool, hint: str = ""
) -> int:
    """``config.size`` if it ``fits``, else with ``pad`` the next larger size that does.

    Raises UsageError that says what is needed, the nearest sizes on both sides, and ``hint``.
    """
    size = config.size
    if fits(size):
        return size
    larger = next(n for n in range(size + 1, 4 * size + 256) if fits(n))
    if pad:
        return larger
    smaller = next((n for n in range(size - 1, 0, -1) if fits(n)), None)
    nearest = str(larger) if smaller is None else f"{smaller} or {larger}"
    remedy = f"the nearest sizes are {nearest}; pad=true adds {larger - size} empty rows and columns"
    raise UsageError(
        f"size of model {config.name!r}",
        expected=needs,
        got=size,
        remedy=f"{hint}; {remedy}" if hint else remedy,
    )


def zero_pad(size: int, side: int) -> nn.Module:
    """Pad images (N, C, ``size``, ``size``) with empty pixels to ``side``, the odd one below and right."""
    if size == side:
        return nn.Identity()
    before = (side - size) // 2
    after = side - size - before
    return nn.ZeroPad2d((before, after, before, after))


def divisors(n: int) -> list[int]:
    """All divisors of ``n``, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]
