"""The part of ``overhead`` that runs in a fresh process: one model at one batch size, all its pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast import kernels, models, protect
from holdfast.core.errors import DataError
from holdfast.core.protocols import named_layers
from holdfast.core.result import Label
from holdfast.core.timing import time_pairs
from holdfast.programs.baselines import LAYOUTS, Forward, compiled, fastest_eager, forward
from holdfast.programs.scheme_times import scheme_ratios

TOLERANCE = 1e-3
"""Largest difference of the outputs over the largest output: norms folded into weights round differently."""


@dataclass(frozen=True)
class Job:
    """One model at one batch size: baselines ("checks off", "fastest eager", "compiled") and errors."""

    model: str
    batch: int
    size: int
    baselines: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """The paired ratios (pairs,) of one comparison; what is reported is the ratio minus ``offset``."""

    metric: str
    labels: dict[str, Label]
    ratios: NDArray[np.float64]
    baseline_ms: float | None = None
    ms: float | None = None
    offset: float = 1.0


def measure(job: Job, pairs: int, schemes: bool, seed: int) -> list[Series]:
    """All series of ``job``, ``pairs`` pairs each."""
    torch.manual_seed(seed)
    classes = 20 if job.model.startswith("yolo") else 1000
    plain = models.create(job.model, in_channels=3, classes=classes, size=job.size).eval()
    x = torch.rand(job.batch, 3, job.size, job.size)
    lean, layout = fastest_eager(plain, x)
    x = x.to(memory_format=LAYOUTS[layout])
    plain = plain.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    protected = protect(plain)
    labels: dict[str, Label] = {
        "model": job.model,
        "batch": job.batch,
        "layout": layout,
        "size": job.size,
        "threads": torch.get_num_threads(),
        "backend": kernels.backend(),
    }
    expected = forward(lean, x)()
    calls = {"fastest eager": forward(lean, x), "checks off": unchecked(plain, x)}
    if "compiled" in job.baselines:
        calls["compiled"] = forward(compiled(plain, x), x)
    for name, call in calls.items():
        _same(call(), expected, f"{job.model}, {name}")
    quiet = forward(protected, x)
    _same(quiet(), expected, f"{job.model}, protected")
    found = [
        _series("overhead", {**labels, "error": "none", "baseline": name}, calls[name], quiet, pairs)
        for name in job.baselines
    ]
    if protected.events:
        raise DataError(f"{job.model} at batch {job.batch}", expected="no alarm", got=protected.events[0])
    for error in job.errors:
        struck = _struck(protected, x, error)
        _same(struck(), expected, f"{job.model} with an error ({error})")
        if not any(event.corrected for event in protected.events):
            raise DataError(f"{job.model} with an error ({error})", expected="an event", got="none")
        for name, call in {"error-free": quiet, **{name: calls[name] for name in job.baselines}}.items():
            more = {**labels, "error": error, "baseline": name}
            found.append(_series("overhead", more, call, struck, pairs))
        protected.clear_events()
    if schemes:
        ratios = scheme_ratios(protected, calls["fastest eager"], x, max(1, pairs // 5))
        for (scheme, positions), values in ratios.items():
            more = {**labels, "scheme": scheme, "positions": positions, "baseline": "fastest eager"}
            found.append(Series("scheme_time", more, values, offset=0.0))
    return found


def unchecked(plain: nn.Module, x: Tensor) -> Forward:
    """Calls on the path that the protected model takes, without its checks.

    The fast path can leave them out; where there is none, the path is that of the layers themselves.
    """
    twin = protect(plain)
    call = forward(twin, x)
    call()
    for part in vars(twin).values():
        program: Any = getattr(part, "program", None)
        if hasattr(program, "checks"):
            program.checks = False
            return call
    return forward(plain, x)


def _series(metric: str, labels: dict[str, Label], a: Forward, b: Forward, pairs: int) -> Series:
    timing = time_pairs(a, b, pairs, warmup=2)
    ratios = timing.b_ms / timing.a_ms
    return Series(metric, labels, ratios, float(np.median(timing.a_ms)), float(np.median(timing.b_ms)))


def _same(found: Tensor, expected: Tensor, what: str) -> None:
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        raise DataError(what, expected="the model's answer", got=f"outputs {difference:.2g} apart")


def _struck(protected: nn.Module, x: Tensor, error: str) -> Forward:
    """Calls that damage the output of one layer, each call of the next one in turn."""
    layers: Iterator[Any] = cycle(
        layer for _, layer in named_layers(protected) if isinstance(layer, nn.Conv2d | nn.Linear)
    )
    plain_call = forward(protected, x)
    hook = DAMAGES[error]

    def call() -> Tensor:
        handle = next(layers).register_forward_hook(hook)
        try:
            return plain_call()
        finally:
            handle.remove()

    return call


def _hook(n: int | slice, m: int | slice) -> Callable[[Any, Any, Tensor], None]:
    def hook(layer: Any, args: Any, output: Tensor) -> None:
        output[(n, m, *(size // 2 for size in output.shape[2:]))] += 1000.0

    return hook


DAMAGES = {"block": _hook(0, 0), "row": _hook(0, slice(None)), "column": _hook(slice(None), 0)}
"""What is added to a layer's output (N, M, ...) at one position: to a block, a row of blocks, a column."""
