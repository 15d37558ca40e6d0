"""Global pruning: the largest scores of all layers together, so that layers compete for what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.subnet.layers import masked_layers
from holdfast.subnet.scores import By, ranked, top_mask


def global_counts(scores: Sequence[Tensor], total: int, by: By = "value") -> list[int]:
    """How many of the ``total`` largest of all ``scores`` each layer has; at least 1, be it a lower one.

    Raises UsageError for a total that does not give every layer one weight, or more than there are.
    """
    sizes = [each.numel() for each in scores]
    if not len(sizes) <= total <= sum(sizes):
        raise UsageError("weights to keep", expected=f"{len(sizes)} to {sum(sizes)}", got=total)
    ranks = [ranked(each, by).reshape(-1) for each in scores]
    for each in ranks:
        each[each.argmax()] = torch.inf
    mask = top_mask(torch.cat(ranks), total)
    return [int(part.sum()) for part in torch.split(mask, sizes)]


class GlobalRate:
    """A forward pre-hook that shares ``total`` weights among the masked layers of a model by their scores."""

    def __init__(self, model: nn.Module, total: int, by: By) -> None:
        self.layers = list(masked_layers(model).values())
        self.total = total
        self.by = by
        self.seen: object = None

    def __call__(self, *_: Any) -> None:
        """Give each layer its number of weights for the scores as they are now."""
        state = [(layer.scores.data_ptr(), layer.scores._version) for layer in self.layers]
        if state == self.seen:
            return
        with torch.inference_mode(False), torch.no_grad():
            counts = global_counts([layer.scores for layer in self.layers], self.total, self.by)
        for layer, kept in zip(self.layers, counts, strict=True):
            layer.kept = kept
        self.seen = state
