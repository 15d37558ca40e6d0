"""The part of ``overhead`` that runs in a fresh process: one model at one batch size, a cell of the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast import kernels, models, protect
from holdfast.abft import Protected
from holdfast.core.errors import DataError
from holdfast.core.result import Label, Status
from holdfast.programs.baselines import LAYOUTS, Forward, compiled, fastest_eager, forward
from holdfast.programs.rounds import Times, time_rounds
from holdfast.programs.scheme_times import KEYS, RATIOS, compared, scheme_ratios
from holdfast.programs.strikes import struck

TOLERANCE = 1e-3
"""Largest difference of the outputs over the largest output: norms folded into weights round differently."""
_BEFORE = 8
"""Passes before the first round, beside those of each call: the layout is chosen, the fast path is built."""


@dataclass(frozen=True)
class Limits:
    """How long a cell may take: ``least`` rounds, up to ``most`` while ``budget_s`` lasts.

    A cell that would take longer than ``limit_s`` with its least rounds is not begun.
    """

    least: int
    most: int
    budget_s: float
    limit_s: float


@dataclass(frozen=True)
class Job:
    """One model at one batch size: baselines ("checks off", "fastest eager", "compiled") and errors.

    ``compile``: whether the compiled model is measured. ``schemes``: the positions at which each scheme is
    timed by itself, of "one" and "every". ``plan``: whether the plan of its layers is made, which takes time.
    """

    model: str
    batch: int
    size: int
    baselines: tuple[str, ...]
    errors: tuple[str, ...]
    compile: bool = True
    schemes: tuple[str, ...] = ()
    plan: bool = False

    @property
    def labels(self) -> dict[str, Label]:
        """What is known of every series of the cell before it is measured."""
        return {"model": self.model, "batch": self.batch, "size": self.size}

    def comparisons(self) -> Iterator[tuple[str, str]]:
        """(error, baseline) of every comparison, and so of every series called ``overhead``."""
        yield from (("none", name) for name in self.baselines)
        yield from ((error, name) for error in self.errors for name in ("error-free", "fastest eager"))

    def passes(self, least: int) -> int:
        """About how many passes of the model the cell takes with its ``least`` rounds."""
        calls = 2 + len(self.errors) + sum(self.compile or name != "compiled" for name in self.baselines)
        return _BEFORE + calls * (1 + least)

    def absent(self, reason: str, status: Status = "ok") -> list[Series]:
        """The series of a cell of which nothing was measured."""
        return [
            Series("overhead", {**self.labels, "error": e, "baseline": b}, reason=reason, status=status)
            for e, b in self.comparisons()
        ]


def _nothing() -> NDArray[np.float64]:
    return np.empty(0)


@dataclass(frozen=True)
class Series:
    """The paired ratios (rounds,) of one comparison; what is reported is the ratio minus ``offset``.

    Without ratios ``reason`` says why there are none.
    """

    metric: str
    labels: dict[str, Label]
    ratios: NDArray[np.float64] = field(default_factory=_nothing)
    baseline_ms: float | None = None
    ms: float | None = None
    offset: float = 1.0
    reason: str | None = None
    status: Status = "ok"


def measure(job: Job, limits: Limits, seed: int) -> list[Series]:
    """All series of ``job``, every call timed in turn with all others.

    Raises DataError where a call answers differently, or where a fault-free one raises an alarm.
    """
    torch.manual_seed(seed)
    classes = 20 if job.model.startswith("yolo") else 1000
    plain = models.create(job.model, in_channels=3, classes=classes, size=job.size).eval()
    plain = plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(job.batch, 3, job.size, job.size).to(memory_format=torch.channels_last)
    call = forward(plain, x)
    expected = call()
    start = perf_counter()
    call()
    needed = job.passes(limits.least) * (perf_counter() - start)
    if needed > limits.limit_s:
        return job.absent(f"would take about {needed:.0f} s; limit_s is {limits.limit_s:g}")
    lean, layout = fastest_eager(plain, x)
    x = x.to(memory_format=LAYOUTS[layout])
    plain = plain.to(memory_format=LAYOUTS[layout])
    protected = protect(plain, plan=None)
    quiet = forward(protected, x)
    quiet()
    calls = {"protected": quiet, "fastest eager": forward(lean, x)}
    if "checks off" in job.baselines:
        calls["checks off"] = unchecked(protected, plain, x)
    if job.compile and "compiled" in job.baselines:
        calls["compiled"] = forward(compiled(plain, x), x)
    for name, call in calls.items():
        _same(call(), expected, f"{job.model}, {name}")
    if protected.events:
        raise DataError(f"{job.model} at batch {job.batch}", expected="no alarm", got=protected.events[0])
    for error in job.errors:
        calls[error] = struck(protected, quiet, error, seed)
        _same(calls[error](), expected, f"{job.model} with an error ({error})")
        if not any(event.corrected for event in protected.events):
            raise DataError(f"{job.model} with an error ({error})", expected="an event", got="none")
        protected.clear_events()
    times = time_rounds(
        calls, least=limits.least, most=limits.most, budget_s=limits.budget_s, warmup=int(needed < 10)
    )
    labels: dict[str, Label] = {
        **job.labels,
        "layout": layout,
        "threads": torch.get_num_threads(),
        "backend": kernels.backend(),
    }
    found = [*_series(job, times, labels)]
    protected.clear_events()
    return [
        *found,
        *_schemes(job, protected, calls["fastest eager"], x, limits, labels),
        *_plan(job, plain, x, labels),
    ]


def _series(job: Job, times: Times, labels: dict[str, Label]) -> Iterator[Series]:
    for error, baseline in job.comparisons():
        a = times.get("protected" if baseline == "error-free" else baseline)
        b = times["protected" if error == "none" else error]
        more = {**labels, "error": error, "baseline": baseline}
        if a is None:
            reason = "the compiled model is measured at the batch sizes of compile_batches"
            yield Series("overhead", more, reason=reason)
        else:
            yield Series("overhead", more, b / a, float(np.median(a)), float(np.median(b)))


def _schemes(
    job: Job, protected: Protected, model: Forward, x: Tensor, limits: Limits, labels: dict[str, Label]
) -> Iterator[Series]:
    ratios = scheme_ratios(protected, model, x, job.schemes, limits.most, limits.budget_s)
    for scheme, positions in KEYS:
        more = {**labels, "scheme": scheme, "positions": positions, "baseline": "fastest eager"}
        if (scheme, positions) in ratios:
            yield Series("scheme_time", more, ratios[scheme, positions], offset=0.0)
        elif job.schemes:
            yield Series("scheme_time", more, reason="timed for the models of schemes_everywhere")
    if "every" in job.schemes:
        both = compared(ratios)
        yield from (
            Series("scheme_ratio", {**labels, "of": of, "to": to}, both[of, to], offset=0.0)
            for of, to in RATIOS
        )


def _plan(job: Job, plain: nn.Module, x: Tensor, labels: dict[str, Label]) -> list[Series]:
    """Per layer, 1 where the plan made for it is what the slides' rule says of the plan's own times."""
    if not job.plan:
        return []
    planned = protect(plain)
    forward(planned, x)()
    plans = planned.plans.plans if planned.plans is not None else []
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


def _same(found: Tensor, expected: Tensor, what: str) -> None:
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        raise DataError(what, expected="the model's answer", got=f"outputs {difference:.2g} apart")
