"""Thresholds from the user's data: how much of the analytic threshold fault-free runs really use.

A layer's calibrated threshold is its analytic one, which follows the scale of every batch, times

    factor = min(1, MARGIN · max_k r_k),    r_k = deviation / analytic threshold of fault-free check k.

False alarms: if the next check is drawn like the K calibration checks (exchangeable), its r exceeds their
maximum with probability 1/(K + 1) at most. The deviation is a sum of many small roundings; MARGIN times the
maximum is further out than the MARGIN-fold of its standard deviations, so that bound is far from reached. On
data of another kind the factor promises nothing: calibrate again, or use the analytic threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holdfast.core.errors import FaultError, UsageError

if TYPE_CHECKING:
    from holdfast.abft.protect import Protected

MARGIN = 4.0


def batches_of(example: Any) -> Iterable[Any]:
    """``example`` as batches: a tensor is one; of a pair (x, y) only x counts."""
    if isinstance(example, Tensor):
        return [example]
    return (item[0] if isinstance(item, list | tuple) else item for item in example)


def calibrate(model: Protected, example: Any, margin: float = MARGIN) -> dict[str, float]:
    """Set every layer's factor from fault-free runs on ``example``, and return the factors by layer.

    ``example``: a batch (N, ...), or an iterable of batches or of (batch, labels). Raises UsageError without
    any, and FaultError where a check fails even the analytic threshold.
    """
    used: dict[str, float] = {}
    for layer in model.layers():
        layer.factor = 1.0

    def watch(name: str, deviation: float, threshold: float) -> None:
        used[name] = max(used.get(name, 0.0), deviation / threshold if threshold else 0.0)

    before = len(model.events)
    with model.guard.watched(watch), torch.no_grad():
        for batch in batches_of(example):
            model(batch)
    if not used:
        raise UsageError("calibration", expected="at least one batch", got="none")
    if len(model.events) > before:
        raise FaultError(
            "calibration",
            expected="fault-free runs",
            got=f"{len(model.events) - before} events",
            remedy="run it again; if it stays, look at the layers that the events name",
        )
    factors = {}
    for layer in model.layers():
        # A layer whose products are exact shows no rounding: one unit of it stays allowed.
        layer.factor = min(1.0, max(margin * used.get(layer.name, 1.0), 1e-3))
        factors[layer.name] = layer.factor
    return factors
