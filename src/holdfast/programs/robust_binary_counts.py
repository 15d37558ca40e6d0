"""What needs no training: masks and paths to choose from, operations saved, dead channels of a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from holdfast import models
from holdfast.core.result import Label, Record
from holdfast.programs.mask_figures import alive, consecutive, empty_on_both_sides
from holdfast.programs.robust_binary_cells import SMALL_NET
from holdfast.subnet.cost import multiplications
from holdfast.subnet.layers import prunable
from holdfast.subnet.rates import adaptive_counts, log10_masks, log10_paths

if TYPE_CHECKING:
    from holdfast.subnet import Packed

MODELS: dict[str, dict[str, Any]] = {
    "resnet34": {"in_channels": 3, "size": 32, "stem": "cifar"},
    "convnet": {"in_channels": 1, "size": 8, **dict(SMALL_NET)},
}
"""Networks that are counted: the paper's on CIFAR-10, and the one of the digits."""
BEYOND = (1.25, 1.5)
"""Powers beyond the paper's, without which p = 1 would be the largest for being the last."""


def counts(rates: Sequence[float], powers: Sequence[float]) -> Iterator[Record]:
    """log10 of ∏ C(n_i, m_i) and of ∏ m_i over p, and the p at which each is largest."""
    for name in MODELS:
        sizes = [layer.weight.numel() for layer in prunable(_model(name)).values()]
        for rate in rates:
            found: dict[str, dict[float, float]] = {"masks": {}, "paths": {}}
            for p in (*powers, *BEYOND):
                kept = adaptive_counts(sizes, rate, p)
                found["masks"][p] = log10_masks(sizes, kept)
                found["paths"][p] = log10_paths(kept)
            for what, values in found.items():
                labels: dict[str, Label] = {"model": name, "prune_rate": rate}
                for p, value in values.items():
                    yield _record(f"log10_{what}", value, {**labels, "p": p})
                yield _record(f"most_{what}_at_p", max(values, key=lambda p: values[p]), labels)


def cost() -> Iterator[Record]:
    """Share of the operations of convolutions and products that ±1 weights save (``subnet.cost``), in %."""
    for name in MODELS:
        model = _model(name)
        plain, binary = multiplications(model, binary=False), multiplications(model, binary=True)
        for which in ("forward", "backward"):
            before, after = getattr(plain, which).total, getattr(binary, which).total
            labels: dict[str, Label] = {"model": name, "pass": which, "operations": before}
            saved = 100 * (before - after) / before
            yield _record("operations_saved", saved, labels, unit="%", direction="higher")


def dead_channels(packed: Packed, labels: dict[str, Label], seed: int) -> Iterator[Record]:
    """Of the channels between consecutive layers: how many are empty before, not read after, and both.

    ``dead_in_both_ratio``: both, over all pairs of layers, of what chance alone would give.
    """
    both = chance = 0.0
    for pair in consecutive(packed):
        before, after = (layer.mask for layer in pair)
        n = len(before)
        found = {
            "dead_outputs": int((~alive(before, 0)).sum()),
            "dead_inputs": int((~alive(after, 1)).sum()),
            "dead_in_both": int(empty_on_both_sides(pair).sum()),
        }
        both += found["dead_in_both"]
        chance += found["dead_outputs"] * found["dead_inputs"] / n
        told = {**labels, "layers": f"{pair[0].name}, {pair[1].name}"}
        for metric, value in found.items():
            yield _record(metric, value, told, unit="channels", n=n, seed=seed)
    if chance:
        yield _record("dead_in_both_ratio", both / chance, labels, seed=seed)


def _model(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return models.create(name, classes=10, norm="batch_no_affine", last_norm=True, **MODELS[name])


def _record(metric: str, value: float, labels: dict[str, Label], **more: Any) -> Record:
    given: dict[str, Any] = {"unit": "1", "direction": "none", **more}
    return Record(metric=metric, value=value, labels=labels, **given)
