"""The learning rate as a function of the step alone, so that there is no scheduler state to restore."""

from __future__ import annotations

from math import cos, pi

WARMUP = 0.1
"""Share of all steps in which the learning rate rises linearly, unless another is asked for."""


def learning_rate(step: int, total: int, peak: float, warmup: int | None = None) -> float:
    """Learning rate of ``step`` (from 0) of ``total``: linear over ``warmup`` steps, then a cosine to 0.

    ``warmup`` is a tenth of all steps (at least 1) by default; with 0 the first step has the ``peak``.
    """
    if warmup is None:
        warmup = max(1, round(WARMUP * total))
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return peak * 0.5 * (1 + cos(pi * progress))
