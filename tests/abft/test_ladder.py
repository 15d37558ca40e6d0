"""Every block, row and column fault is corrected within the bound, with and without computing again."""

from __future__ import annotations

import math

import pytest
import torch
from abft_support import Case, assert_within, blocks, cases, guarded, inner, run, strike_once, taus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from holdfast.abft.threshold import Thresholds

PATTERNS = ("block", "row", "column")
VALUES = ("any size", "equal", "just seen", "1e38", "inf", "-inf", "nan", "mixed")
SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def errors(shape: torch.Size, value: str, tau: Thresholds, generator: torch.Generator) -> Tensor:
    """Errors for the blocks of a fault, each and in sum well above every threshold."""
    floor = 4 * max(float(tau.t1.max()), float(tau.t2.max()), tau.t5)
    sign = float(torch.randint(2, (), generator=generator)) * 2 - 1
    size = torch.ones(shape, dtype=torch.float64)
    if value in ("any size", "mixed"):
        size = 10 ** (6 * torch.rand(shape, generator=generator, dtype=torch.float64))
    if value == "just seen":
        size = 1 + torch.rand(shape, generator=generator, dtype=torch.float64)
    made = sign * floor * size * (100 if value == "equal" else 1)
    if value == "mixed":
        strange = torch.tensor([1e38, math.inf, -math.inf, math.nan], dtype=torch.float64)
        index = torch.randint(4, shape, generator=generator)
        made = torch.where(torch.rand(shape, generator=generator) < 0.4, strange[index], made)
    return (
        torch.full(shape, float(value), dtype=torch.float64)
        if value in ("1e38", "inf", "-inf", "nan")
        else made
    )


def strike(out: Tensor, pattern: str, value: str, tau: Thresholds, generator: torch.Generator) -> None:
    """Damage some positions of one block, row or column of ``out`` (N, M, P), in place."""
    n, m, p = out.shape
    count = int(torch.randint(1, p + 1, (), generator=generator))
    where = torch.randperm(p, generator=generator)[:count]
    i, j = (int(torch.randint(size, (), generator=generator)) for size in (n, m))
    rows, columns = (
        slice(None) if pattern == kind else slice(k, k + 1) for kind, k in (("column", i), ("row", j))
    )
    hit = out[rows, columns][:, :, where]
    made = errors(hit.shape, value, tau, generator)
    damaged = torch.where(made.abs() < 1e37, hit.double() + made, made).to(out.dtype)
    index = torch.arange(n)[rows][:, None, None], torch.arange(m)[columns][:, None], where
    out[index] = damaged


def check(case: Case, pattern: str, value: str, recompute: bool) -> tuple[str, ...]:
    """Strike, and see the output corrected; return the rungs that were used."""
    protected = guarded(case.layer, recompute)
    clean = case.clean
    tau = taus(protected, case.x, clean)
    generator = case.generator
    strike_once(inner(protected), lambda out: strike(blocks(protected, out), pattern, value, tau, generator))
    out = run(protected, case.x)
    assert out is not None, protected.events
    assert_within(protected, out, clean, tau)
    (event,) = protected.events
    assert event.corrected
    protected.clear_events()
    with torch.no_grad():
        assert torch.equal(protected(case.x), clean)
    assert not protected.events
    return event.rungs


@SETTINGS
@given(
    case=cases(), pattern=st.sampled_from(PATTERNS), value=st.sampled_from(VALUES), recompute=st.booleans()
)
def test_every_fault_is_corrected(case: Case, pattern: str, value: str, recompute: bool) -> None:
    check(case, pattern, value, recompute)


@pytest.mark.slow
@settings(SETTINGS, max_examples=5000)
@given(
    case=cases(), pattern=st.sampled_from(PATTERNS), value=st.sampled_from(VALUES), recompute=st.booleans()
)
def test_every_fault_is_corrected_many_times(case: Case, pattern: str, value: str, recompute: bool) -> None:
    check(case, pattern, value, recompute)
