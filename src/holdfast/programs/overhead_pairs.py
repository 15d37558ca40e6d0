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
from holdfast.abft import Protected
from holdfast.core.errors import DataError
from holdfast.core.protocols import named_layers
from holdfast.core.result import Label
from holdfast.core.timing import time_pairs
from holdfast.programs.baselines import LAYOUTS, Forward, compiled, fastest_eager, forward
from holdfast.programs.scheme_times import compared, scheme_ratios

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
    calls = {"fastest eager": forward(lean, x), "checks off": unchecked(protected, plain, x)}
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
        struck = _struck(protected, x, error, seed)
        _same(struck(), expected, f"{job.model} with an error ({error})")
        if not any(event.corrected for event in protected.events):
            raise DataError(f"{job.model} with an error ({error})", expected="an event", got="none")
        for name, call in {"error-free": quiet, "fastest eager": calls["fastest eager"]}.items():
            more = {**labels, "error": error, "baseline": name}
            again = _struck(protected, x, error, seed)  # the same layers in every series
            found.append(_series("overhead", more, call, again, pairs))
        protected.clear_events()
    if schemes:
        ratios = scheme_ratios(protected, calls["fastest eager"], x, max(1, pairs // 5))
        for (scheme, positions), values in ratios.items():
            more = {**labels, "scheme": scheme, "positions": positions, "baseline": "fastest eager"}
            found.append(Series("scheme_time", more, values, offset=0.0))
        for (of, to), values in compared(ratios).items():
            found.append(Series("scheme_ratio", {**labels, "of": of, "to": to}, values, offset=0.0))
    return found + _plan(protected, labels)


def _plan(protected: Protected, labels: dict[str, Label]) -> list[Series]:
    """Per layer, 1 where the plan in use is what the slides' rule says of the plan's own times."""
    plans = protected.plans.plans if protected.plans is not None else []
    if not plans:
        return []
    kept = []
    for layer in plans[-1].layers:
        row = layer.p_row * (layer.t0_ms - layer.t1_row_ms) > layer.p_column * (layer.t2_row_ms - layer.t0_ms)
        column = layer.p_column * (layer.t0_ms - layer.t1_column_ms) > layer.p_row * (
            layer.t2_column_ms - layer.t0_ms
        )
        single = labels["batch"] == 1
        kept.append(("RC" in layer.rungs) == (row and not single) and ("ClC" in layer.rungs) == column)
    return [Series("rule_kept", labels, np.array(kept, dtype=np.float64), offset=0.0)]


def unchecked(protected: Protected, plain: nn.Module, x: Tensor) -> Forward:
    """Calls on the path that the protected model takes, without its checks.

    The fast path can leave them out; without one the path is that of the layers themselves.
    """
    call = forward(protected, x)
    call()
    program = protected.fast.program if protected.fast is not None else None
    if program is None:
        return forward(plain, x)

    def without() -> Tensor:
        program.checks = False
        try:
            return call()
        finally:
            program.checks = True

    return without


def _series(metric: str, labels: dict[str, Label], a: Forward, b: Forward, pairs: int) -> Series:
    timing = time_pairs(a, b, pairs, warmup=2)
    ratios = timing.b_ms / timing.a_ms
    return Series(metric, labels, ratios, float(np.median(timing.a_ms)), float(np.median(timing.b_ms)))


def _same(found: Tensor, expected: Tensor, what: str) -> None:
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        raise DataError(what, expected="the model's answer", got=f"outputs {difference:.2g} apart")


def _struck(protected: nn.Module, x: Tensor, error: str, seed: int) -> Forward:
    """Calls that damage the output of one layer, each call of another one, all in turn."""
    found = [layer for _, layer in named_layers(protected) if isinstance(layer, nn.Conv2d | nn.Linear)]
    order = np.random.default_rng(seed).permutation(len(found))
    layers: Iterator[Any] = cycle(found[index] for index in order)
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
