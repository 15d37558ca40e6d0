"""Restoring a damaged layer input from its checksum.

Cd1 holds the sum of every element of D over the batch in float64; without the others, that is the element, up
to rounding far below its own. Which image was hit shows in Σ D², taken with Cd1: only the right one brings it
back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.kernels import BatchStats


def restore_input(d: Tensor, cd1: Tensor, now: Tensor, stats: BatchStats) -> bool:
    """Put back, in place, what has changed in ``d`` (N, C, *space) since ``cd1`` and ``stats`` were taken.

    ``now`` (C, *space) is Cd1 of ``d`` as it is, by the same kernel as ``cd1``. Restores any damage for N =
    1, and one element for larger batches. False, and ``d`` untouched, where it cannot tell. What comes back
    is exact, bit for bit, except that the sign of a zero is lost, and that an element so much smaller than
    the others of its sum that float64 did not keep all its bits is off by N roundings of that sum at most.
    """
    with torch.inference_mode():
        images = d.detach()
        wrong = now != cd1
        if len(images) == 1:
            images[0].copy_(torch.where(wrong, cd1, images[0].to(torch.float64)))
            return True
        if int(wrong.sum()) != 1:
            return False
        where = tuple(wrong.nonzero()[0].tolist())
        values = images[(slice(None), *where)].to(torch.float64)
        total = cd1[where]
        image = _hit_image(images, where, values, total, stats.sum_squares)
        if image is None:
            return False
        images[(image, *where)] = total - _without(values, image).sum()
        return True


def _hit_image(
    images: Tensor, where: tuple[int, ...], values: Tensor, total: Tensor, squares: float
) -> int | None:
    """The image whose element at ``where`` changed, None if two would explain the sums."""
    broken = (~values.isfinite()).nonzero()
    if len(broken):
        return int(broken[0]) if len(broken) == 1 else None
    rest = 0.0
    for image in images:
        squared = image.to(torch.float64).square()
        squared[where] = 0.0
        rest += float(squared.sum())
    gaps = []
    for n in range(len(values)):
        others = _without(values, n)
        gaps.append(abs(rest + float(others.square().sum() + (total - others.sum()) ** 2) - squares))
    order = sorted(range(len(gaps)), key=gaps.__getitem__)
    tolerance = 1e-11 * squares
    certain = gaps[order[0]] <= tolerance and gaps[order[1]] > 10 * tolerance  # false for a NaN
    return order[0] if certain else None


def _without(values: Tensor, index: int) -> Tensor:
    return torch.cat([values[:index], values[index + 1 :]])
