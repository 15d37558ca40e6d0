"""From scores to masks: the k largest, exactly k of them.

A full sort of every layer at every step would cost more than the step of a small network. The k-th largest
score is found by partial selection, once a step, in the order in which the scores lie in memory; one
comparison with it makes the mask.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from holdfast.core.errors import UsageError

By = Literal["value", "magnitude", "channel"]
"""What is ranked: the score, as the paper says; its absolute value, as the authors' code does; or the mean of
its input channel, so that a layer reads whole channels or not at all (structured pruning). The mean of an
output channel would not learn: a norm voids the scale, so that the gradient along its weights is 0."""


def ranked(scores: Tensor, by: By = "value") -> Tensor:
    """A copy of what ``scores`` are compared by, flat, in the order in which they lie; NaN comes last."""
    return _in_memory_order(_without_nan(_compared(scores, by)))


def top_mask(scores: Tensor, k: int, by: By = "value") -> Tensor:
    """The mask, bool as ``scores``, of the ``k`` largest; of equal scores the first ones, NaN last.

    Raises UsageError for k outside [0, number of scores].
    """
    n = scores.numel()
    if not 0 <= k <= n:
        raise UsageError("weights to keep", expected=f"an integer in [0, {n}]", got=k)
    if k in (0, n):
        return torch.full_like(scores, k == n, dtype=torch.bool, requires_grad=False)
    values = _compared(scores, by)
    if values.device.type == "cpu":
        mask = values >= _kth_largest(values, k)
        if int(torch.count_nonzero(mask)) == k:  # else there are ties, or NaN among the largest
            return mask
    values = _without_nan(values)
    threshold = _kth_largest(values, k)
    larger, equal = values > threshold, (values == threshold).reshape(-1)
    first = equal.cumsum(0) <= k - torch.count_nonzero(larger)
    return larger | (equal & first).view(values.shape)


def _compared(scores: Tensor, by: By) -> Tensor:
    scores = scores.detach()
    if by == "channel":
        others = [axis for axis in range(scores.dim()) if axis != 1]
        return scores.mean(others, keepdim=True).expand_as(scores).contiguous()
    return scores.abs() if by == "magnitude" else scores


def _without_nan(values: Tensor) -> Tensor:
    """A copy with the lowest value in place of NaN."""
    return torch.nan_to_num(values, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """The ``k``-th largest, NaN being largest: by quickselect, or by radix select on a GPU."""
    flat = _in_memory_order(values)
    n = len(flat)
    if flat.device.type == "cpu":
        wide = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
        return torch.tensor(np.partition(wide.numpy(), n - k)[n - k]).to(flat.dtype)
    if k <= n - k:
        return torch.topk(flat, k, sorted=False).values.min()
    return torch.topk(flat, n - k + 1, largest=False, sorted=False).values.max()


def _in_memory_order(values: Tensor) -> Tensor:
    """All ``values`` (n,), without a copy where they lie densely in memory (channels first or last)."""
    return values.permute(sorted(range(values.dim()), key=values.stride, reverse=True)).reshape(-1)
