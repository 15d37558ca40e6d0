"""From scores to masks: the k largest, exactly k of them.

A full sort of every layer at every step would cost more than the step of a small network. Here the k-th
largest score is found by partial selection; a ``Selector`` moreover remembers it, since from one step to the
next it hardly moves: one comparison with it leaves only a few scores near it to select from.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from holdfast.core.errors import UsageError

By = Literal["value", "magnitude"]
"""What is ranked: the score, as the paper says, or its absolute value, as the authors' code does."""

_WINDOW = 16
"""A remembered threshold helps while at most one score in this many lies near it."""


def ranked(scores: Tensor, by: By = "value") -> Tensor:
    """What ``scores`` are compared by, flat; NaN comes last."""
    flat = scores.detach().reshape(-1)
    flat = flat.abs() if by == "magnitude" else flat
    return torch.nan_to_num(flat, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def top_mask(scores: Tensor, k: int, by: By = "value") -> Tensor:
    """The mask, bool as ``scores``, of the ``k`` largest; of equal scores the first ones, NaN last.

    Raises UsageError for k outside [0, number of scores].
    """
    return Selector(by).mask(scores, k)


class Selector:
    """Makes the masks of one layer, step after step."""

    def __init__(self, by: By = "value") -> None:
        self.by = by
        self._near: tuple[float, float] | None = None

    def mask(self, scores: Tensor, k: int) -> Tensor:
        """As ``top_mask``."""
        n = scores.numel()
        if not 0 <= k <= n:
            raise UsageError("weights to keep", expected=f"an integer in [0, {n}]", got=k)
        if k in (0, n):
            return torch.full(scores.shape, k == n, dtype=torch.bool, device=scores.device)
        flat = ranked(scores, self.by)
        value = self._near_threshold(flat, k)
        if value is None:
            value = torch.kthvalue(flat, n - k + 1).values
        mask = flat > value
        equal = (flat == value).nonzero()[:, 0]
        mask[equal[: k - int(mask.sum())]] = True
        self._remember(flat, float(value))
        return mask.view(scores.shape)

    def _near_threshold(self, flat: Tensor, k: int) -> Tensor | None:
        """The k-th largest of ``flat`` if it lies in the window around the last one."""
        if self._near is None:
            return None
        low, high = self._near
        above = int((flat > high).sum())
        near = flat[(flat >= low) & (flat <= high)]
        if not 0 < k - above <= len(near):
            return None
        return torch.kthvalue(near, len(near) - (k - above) + 1).values

    def _remember(self, flat: Tensor, value: float) -> None:
        """A window around ``value`` that holds a small share of the scores."""
        if self._near is None or not self._near[0] < value < self._near[1]:
            spread = float((flat - value).abs().nan_to_num(posinf=0).mean()) / _WINDOW
            self._near = (value - spread, value + spread)
