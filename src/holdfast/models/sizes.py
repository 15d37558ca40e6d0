"""Image sizes that a family can take, and what to do about the others."""

from __future__ import annotations

from collections.abc import Callable

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
    remedy = f"the nearest sizes are {nearest}; pad=true adds {larger - size} rows and columns of zeros"
    raise UsageError(
        f"size of model {config.name!r}",
        expected=needs,
        got=size,
        remedy=f"{hint}; {remedy}" if hint else remedy,
    )


def padding(size: int, side: int) -> int:
    """Rows and columns that the first convolution adds on each side, so that ``size`` counts as ``side``.

    One more than needed where the difference is odd; a stride above 1 then leaves the last one out.
    """
    return (side - size + 1) // 2


def divisors(n: int) -> list[int]:
    """All divisors of ``n``, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]
