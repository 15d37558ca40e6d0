"""How many weights each layer keeps: the pruning strategies.

Adaptive pruning (Liu et al., NeurIPS 2022) keeps m_i of the n_i weights of layer i with

    m_1 / n_1^p = m_2 / n_2^p = … = m_L / n_L^p,    Σ m_i = (1 - r) Σ n_i.

p = 1 is a fixed pruning rate (it maximises the number of masks Π C(n_i, m_i)), p = 0 a fixed number of
weights (it maximises the number of paths Π m_i).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, floor, isfinite, lgamma, log, prod

from holdfast.core.errors import UsageError


def adaptive_counts(
    sizes: Sequence[int], prune_rate: float, p: float, *, tilt: float = 0.0, least: int = 1
) -> list[int]:
    """Weights to keep in layers of ``sizes`` weights; they add up to round((1 - ``prune_rate``) Σ sizes).

    A layer that would keep more than it has stays whole, and the others share the rest in the same
    proportion; none keeps fewer than ``least``. With ``tilt`` t, layer i of L keeps e^(t (i / (L - 1) - 1/2))
    times as much: the later ones more if t > 0. Fractions go to the layers with the largest remainders, ties
    to the first. Raises UsageError for a rate outside [0, 1), p < 0, empty layers, or too few weights to give
    ``least`` to every layer.
    """
    total = kept_in_all(sizes, prune_rate, least)
    if not (isfinite(p) and p >= 0):
        raise UsageError("p", expected="a finite number >= 0", got=p)
    if not (isfinite(tilt) and abs(tilt) <= 20):
        raise UsageError("tilt", expected="a number from -20 to 20", got=tilt)
    # Scaled by the largest size, so that no power overflows.
    largest, last = max(sizes), max(1, len(sizes) - 1)
    weights = [(n / largest) ** p * exp(tilt * (i / last - 0.5)) for i, n in enumerate(sizes)]
    shares = _filled(weights, sizes, total, least)
    counts = [min(n, max(least, floor(share))) for n, share in zip(sizes, shares, strict=True)]
    return _rounded(counts, shares, sizes, total, least)


def channel_counts(
    shapes: Sequence[Sequence[int]], prune_rate: float, p: float, *, tilt: float = 0.0
) -> list[int]:
    """Weights to keep in layers of ``shapes`` (M, C, …), as those of whole input channels.

    They are those of ``adaptive_counts`` rounded to channels, at least one; the first layer, whose channels
    are the image's, stays whole. Raises UsageError as it does.
    """
    sizes = [prod(shape) for shape in shapes]
    counts = []
    for size, shape, kept in zip(
        sizes, shapes, adaptive_counts(sizes, prune_rate, p, tilt=tilt), strict=True
    ):
        each = size // shape[1]
        counts.append(each * max(1, round(kept / each)))
    return [sizes[0], *counts[1:]]


def check_counts(counts: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """User-given ``counts`` if they fit layers of ``sizes``. Raises UsageError."""
    if len(counts) != len(sizes):
        raise UsageError("kept weights", expected=f"{len(sizes)} numbers, one a layer", got=len(counts))
    for index, (kept, size) in enumerate(zip(counts, sizes, strict=True)):
        if isinstance(kept, bool) or not isinstance(kept, int) or not 1 <= kept <= size:
            raise UsageError(
                f"kept weights of layer {index}", expected=f"an integer in [1, {size}]", got=kept
            )
    return list(counts)


def log10_masks(sizes: Sequence[int], counts: Sequence[int]) -> float:
    """log10 of Π C(n_i, m_i): how many masks there are to choose from."""
    return sum(
        lgamma(n + 1) - lgamma(m + 1) - lgamma(n - m + 1) for n, m in zip(sizes, counts, strict=True)
    ) / log(10)


def log10_paths(counts: Sequence[int]) -> float:
    """log10 of Π m_i, which the number of paths from input to output goes with."""
    return sum(log(m) for m in counts) / log(10)


def kept_in_all(sizes: Sequence[int], prune_rate: float, least: int = 1) -> int:
    """round((1 - ``prune_rate``) Σ sizes), if that gives ``least`` to every layer. Raises UsageError."""
    if not sizes or min(sizes) < 1:
        raise UsageError("sizes of layers", expected="at least one, each >= 1", got=list(sizes))
    if not 0 <= prune_rate < 1:
        raise UsageError(
            "prune rate", expected="a number in [0, 1)", got=prune_rate, remedy="0.99 keeps one weight in 100"
        )
    total = round((1 - prune_rate) * sum(sizes))
    floor_ = sum(min(least, n) for n in sizes)
    if total < floor_:
        raise UsageError(
            f"prune rate {prune_rate}",
            expected=f"at least {least} weight in each of {len(sizes)} layers",
            got=f"{total} weights for all",
            remedy=f"prune at most {1 - floor_ / sum(sizes):.6f}",
        )
    return total


def _filled(weights: Sequence[float], sizes: Sequence[int], total: int, least: int) -> list[float]:
    """Shares of ``total`` in proportion to ``weights``, each within [min(least, size), size]."""
    shares = [0.0] * len(sizes)
    open_ = set(range(len(sizes)))
    rest = float(total)
    while open_:
        scale = rest / sum(weights[i] for i in open_)
        over = {i for i in open_ if scale * weights[i] > sizes[i]}
        under = {i for i in open_ if scale * weights[i] < min(least, sizes[i])}
        # Whole layers leave more to the others, raised ones less: settle first whichever weighs more.
        surplus = sum(scale * weights[i] - sizes[i] for i in over)
        deficit = sum(min(least, sizes[i]) - scale * weights[i] for i in under)
        settled = over if surplus >= deficit else under
        if not settled:
            for i in open_:
                shares[i] = scale * weights[i]
            break
        for i in settled:
            shares[i] = float(sizes[i] if settled is over else min(least, sizes[i]))
            rest -= shares[i]
        open_ -= settled
    return shares


def _rounded(
    counts: list[int], shares: Sequence[float], sizes: Sequence[int], total: int, least: int
) -> list[int]:
    """``counts`` changed by single weights until they add up to ``total``."""
    missing = total - sum(counts)
    step = 1 if missing > 0 else -1
    by_remainder = sorted(range(len(counts)), key=lambda i: (step * (counts[i] - shares[i]), i))
    while missing:
        before = missing
        for i in by_remainder:
            if missing and min(least, sizes[i]) <= counts[i] + step <= sizes[i]:
                counts[i] += step
                missing -= step
        if missing == before:
            break
    return counts
