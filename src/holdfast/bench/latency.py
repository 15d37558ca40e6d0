"""Latency: medians with bootstrap intervals, and paired ratios of two models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.core.errors import DataError, UsageError
from holdfast.core.result import Label, Record
from holdfast.core.seeding import derive
from holdfast.core.stats import bootstrap
from holdfast.core.timing import time_ms, time_pairs


def latency(
    model: nn.Module,
    shape: tuple[int, ...],
    batch: int,
    *,
    repeats: int = 50,
    labels: Mapping[str, Label] | None = None,
    seed: int = 0,
) -> list[Record]:
    """Time forward passes in eval mode on ``batch`` images of ``shape`` (C, H, W): one Record ``latency``.

    The value is the median in ms of a whole batch over ``repeats`` calls after 3 uncounted ones; the interval
    is a bootstrap of that median. Labels gain ``batch``, ``threads`` and ``device``. Images are uniform in
    [0, 1). Raises UsageError for sizes below 1, DataError if the model's answer is not finite logits.
    """
    x = _images(shape, batch, repeats, seed).to(_device(model))
    call = _forward(model, x)
    _check(call(), batch)
    times = time_ms(call, repeats)
    record = Record(
        metric="latency",
        value=float(np.median(times)),
        unit="ms",
        direction="lower",
        n=repeats,
        interval=bootstrap(times, seed=derive(seed, "bootstrap")),
        timed=True,
        labels=_labels(labels, x),
        seed=seed,
    )
    return [record]


def overhead(
    plain: nn.Module,
    other: nn.Module,
    shape: tuple[int, ...],
    batch: int,
    *,
    pairs: int = 30,
    labels: Mapping[str, Label] | None = None,
    seed: int = 0,
) -> list[Record]:
    """Time ``plain`` and ``other`` in turn (A B A B): one Record ``latency_ratio``, other / plain.

    The value is the median of the paired ratios. Both must give the same logits within 1e-4 of the largest.
    Labels and errors as in ``latency``; DataError also if the two disagree.
    """
    x = _images(shape, batch, pairs, seed).to(_device(plain))
    a, b = _forward(plain, x), _forward(other, x)
    left, right = _check(a(), batch), _check(b(), batch)
    difference, largest = float((left - right).abs().max()), float(left.abs().max())
    if difference > 1e-4 * max(1.0, largest):
        raise DataError(
            "latency ratio", expected="two models that agree", got=f"logits {difference:.2g} apart"
        )
    timing = time_pairs(a, b, pairs)
    record = Record(
        metric="latency_ratio",
        value=timing.ratio,
        unit="1",
        direction="lower",
        n=pairs,
        interval=timing.interval(derive(seed, "bootstrap")),
        timed=True,
        labels=_labels(labels, x),
        seed=seed,
    )
    return [record]


def _images(shape: tuple[int, ...], batch: int, repeats: int, seed: int) -> Tensor:
    if batch < 1 or repeats < 1 or min(shape, default=0) < 1:
        raise UsageError(
            "latency", expected="shape, batch and repeats >= 1", got=f"{shape}, {batch}, {repeats}"
        )
    generator = torch.Generator().manual_seed(derive(seed, "latency"))
    return torch.rand(batch, *shape, generator=generator)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _forward(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def call() -> Tensor:
        was_training = model.training
        model.eval()
        with torch.inference_mode():
            logits: Tensor = model(x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        if was_training:
            model.train()
        return logits

    return call


def _check(logits: Tensor, batch: int) -> Tensor:
    if logits.dim() != 2 or len(logits) != batch or not bool(torch.isfinite(logits).all()):
        raise DataError("latency", expected=f"finite logits ({batch}, classes)", got=tuple(logits.shape))
    return logits


def _labels(labels: Mapping[str, Label] | None, x: Tensor) -> dict[str, Any]:
    gpu = {"gpu": torch.cuda.get_device_name(x.device)} if x.is_cuda else {}
    where = {"threads": torch.get_num_threads(), "device": x.device.type, **gpu}
    return {**(labels or {}), "batch": len(x), **where}
