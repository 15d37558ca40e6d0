"""Faults of one row, one column or one block whose errors differ in sign and size, down to the thresholds.

e are the errors of the blocks of one position, as they are in the output's dtype; S is their sum, all that
CoC-D can see of them. T is the largest of τ1, τ2 and τ5.

*Corrected*, also where nothing may be computed again: every position with |S| > 2T at which each struck block
has |e| > 2T, or is not finite. So it is from twice the threshold on. Where huge errors of both signs meet, S
is known to 1e-12 of their sum only (float64): then |S| has to exceed 2T by that.

*Never worse*, of every fault, whatever its errors (smaller ones, between τ and 2τ, sums that nearly cancel):
a position of the returned output is either within the bound of the ladder of what it should be, or as the
fault left it with |S| ≤ 2 τ5. Where the ladder may not compute again, it may raise FaultError instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from abft_support import (
    DTYPES,
    Case,
    blocks,
    cases,
    guarded,
    inner,
    run,
    strike_once,
    taus,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promise_support import ROUNDING, assert_never_worse
from torch import Tensor, nn

from holdfast.abft.threshold import Thresholds

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
PATTERNS = ("block", "row", "column", "each its own")
SEEN = ("from 2 on", "mixed signs", "mixed sizes", "mixed, not finite")
ANY = ("below and above", "alike", "one above", "nearly cancelling", "cancelling", *SEEN)


def largest(tau: Thresholds) -> float:
    """T."""
    return max(float(tau.t1.max()), float(tau.t2.max()), tau.t5)


def struck_blocks(shape: torch.Size, pattern: str, generator: torch.Generator) -> Tensor:
    """Which blocks (N, M, P) are hit: one block, or several of one row or column, at some positions."""
    n, m, p = shape
    hit = torch.zeros(shape, dtype=torch.bool)
    count = int(torch.randint(1, p + 1, (), generator=generator))
    kinds = ["block", "row", "column"] if pattern == "each its own" else [pattern]
    i = j = -1
    for at in torch.randperm(p, generator=generator)[:count].tolist():
        if i < 0 or pattern == "each its own":
            kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
            i, j = (int(torch.randint(size, (), generator=generator)) for size in (n, m))
            line = {"block": hit[i : i + 1, j], "row": hit[i], "column": hit[:, j]}[kind]
            share = torch.rand(line.shape[0], generator=generator)
            chosen = share <= max(0.6, float(share.min()))
        line = {"block": hit[i : i + 1, j], "row": hit[i], "column": hit[:, j]}[kind]
        line[:, at] = chosen
    return hit


def errors(hit: Tensor, value: str, unit: float, generator: torch.Generator) -> Tensor:
    """Errors (N, M, P) of the blocks that are ``hit``, in units of T = ``unit``."""

    def uniform() -> Tensor:
        return torch.rand(hit.shape, generator=generator, dtype=torch.float64)

    signs = (uniform() < 0.5) * 2.0 - 1.0
    common = signs[:1, :1, :1]
    e = {
        "from 2 on": common * (2.01 + uniform()),
        "mixed signs": signs * (2.01 + 2 * uniform()),
        "mixed sizes": signs * 2.01 * 10 ** (6 * uniform()),
        "mixed, not finite": signs * 2.01 * 10 ** (6 * uniform()),
        "below and above": signs * 4 * uniform(),
        "alike": common * (0.2 + 2 * uniform()[:1, :1, :1]) * (1 + 0.1 * uniform()),
        "one above": common * uniform()[:1, :1, :1] * (1 + 0.1 * uniform()),
        "nearly cancelling": signs * 10 ** (6 * uniform() - 1),
        "cancelling": signs * 10 ** (6 * uniform() - 1),
    }[value] * unit
    if value == "mixed, not finite":
        strange = torch.tensor([1e37, -1e37, math.inf, -math.inf, math.nan], dtype=torch.float64)
        index = torch.randint(len(strange), hit.shape, generator=generator)
        e = torch.where(uniform() < 0.4, strange[index], e)
    if value == "one above":
        first = hit.flatten(0, 1).int().argmax(0)
        e.flatten(0, 1).scatter_(0, first[None], (6 * unit * common[0]).double().expand(1, hit.shape[2]))
    e = torch.where(hit, e, 0.0)
    if "cancelling" in value:
        # The last block that is hit makes the sum what it shall be.
        flat = e.flatten(0, 1)
        last = hit.flatten(0, 1).int().cumsum(0).argmax(0)
        wanted = 3 * unit * (2 * uniform()[0, 0] - 1) if value == "nearly cancelling" else torch.zeros(())
        rest = flat.sum(0) - flat.gather(0, last[None])[0]
        several = hit.flatten(0, 1).sum(0) > 1
        flat.scatter_(0, last[None], torch.where(several, wanted - rest, flat.gather(0, last[None])[0])[None])
    return e


def guaranteed(hit: Tensor, e: Tensor, unit: float) -> Tensor:
    """The positions (P,) that are certainly corrected."""
    seen = (~hit | ~(e.abs() <= 2 * unit)).flatten(0, 1).all(0)
    s = e.sum((0, 1)).abs() - ROUNDING * e.abs().sum((0, 1))
    return seen & ~(s <= 2 * unit)  # true where something is not finite


def check(case: Case, pattern: str, value: str, recompute: bool) -> str:
    """Strike, and hold the output against both promises; what happened to it."""
    protected = guarded(case.layer, recompute)
    clean = case.clean
    tau = taus(protected, case.x, clean)
    unit, generator = largest(tau), case.generator
    want = blocks(protected, clean)
    hit = struck_blocks(want.shape, pattern, generator)
    e = errors(hit, value, unit, generator)
    damaged = torch.where(hit, torch.where(e.abs() < 1e36, want.double() + e, e), want.double()).to(
        want.dtype
    )
    e = damaged.double() - want.double()  # as they came out of the rounding
    certain = guaranteed(hit, e, unit)
    if value in SEEN:
        damaged = torch.where(certain, damaged, want)
        e = torch.where(certain, e, 0.0)
    strike_once(inner(protected), lambda out: blocks(protected, out).copy_(damaged))
    out = run(protected, case.x)
    if out is None:
        assert value not in SEEN, protected.events
        assert not recompute
        return "raised"
    struck = clean.clone()
    blocks(protected, struck).copy_(damaged)
    fine = assert_never_worse(protected, out, struck, clean, tau)
    if value in SEEN:
        assert bool(fine.all())
        assert len(protected.events) == bool(certain.any())
    assert all(event.corrected for event in protected.events)
    protected.clear_events()
    assert torch.equal(run(protected, case.x), clean)
    assert not protected.events
    return "corrected" if bool(fine.all()) else "passed"


@st.composite
def many(draw: Callable[..., Any]) -> Case:
    """Many images or channels: errors below the thresholds of Co1 or Co2 add up to much."""
    seed = draw(st.integers(0, 2**31))
    n, m = draw(st.sampled_from([(1, 25), (25, 1), (3, 101), (101, 3), (40, 40), (2, 6)]))
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(2, m, 3, bias=draw(st.booleans())).to(draw(st.sampled_from(DTYPES)))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Case(layer.eval(), torch.randn(n, 2, 4, 5, generator=generator).to(layer.weight.dtype), seed)


FAULTS = {
    "case": cases() | many(),
    "pattern": st.sampled_from(PATTERNS),
    "recompute": st.booleans(),
}


@SETTINGS
@given(value=st.sampled_from(SEEN), **FAULTS)
def test_from_twice_the_threshold_on_all_are_corrected(
    case: Case, pattern: str, value: str, recompute: bool
) -> None:
    check(case, pattern, value, recompute)


@settings(SETTINGS, max_examples=100)
@given(value=st.sampled_from(ANY), **FAULTS)
def test_no_fault_makes_an_output_worse_than_it_may(
    case: Case, pattern: str, value: str, recompute: bool
) -> None:
    check(case, pattern, value, recompute)


@pytest.mark.slow
@settings(SETTINGS, max_examples=2500)
@given(value=st.sampled_from(SEEN), **FAULTS)
def test_from_twice_the_threshold_on_many_times(
    case: Case, pattern: str, value: str, recompute: bool
) -> None:
    check(case, pattern, value, recompute)


@pytest.mark.slow
@settings(SETTINGS, max_examples=2500)
@given(value=st.sampled_from(ANY), **FAULTS)
def test_no_fault_makes_an_output_worse_many_times(
    case: Case, pattern: str, value: str, recompute: bool
) -> None:
    check(case, pattern, value, recompute)


@pytest.mark.parametrize("line", ["row", "column"])
@pytest.mark.parametrize("size", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_line_of_small_errors_is_not_gathered_in_one_block(line: str, size: float, recompute: bool) -> None:
    """One block shows its error, the hundred others of its line hide theirs from all but the line's own sum.

    FC once took such a row for one column, and such a column for one row: it then put the sum of all errors
    into the block that showed.
    """
    torch.manual_seed(0)
    n, m = (3, 101) if line == "row" else (101, 3)
    layer, x = nn.Conv2d(4, m, 3, bias=False).eval(), torch.randn(n, 4, 8, 8)
    with torch.no_grad():
        clean = layer(x)
    protected = guarded(layer, recompute)
    tau = taus(protected, x, clean)

    def damage(out: Tensor) -> None:
        if line == "row":
            out[1, :, 3, 3] += (size * tau.t1[:, 0]).float()
            out[1, 33, 3, 3] += 6 * float(tau.t1.max())
        else:
            out[:, 1, 3, 3] += (size * tau.t2[:, 0]).float()
            out[33, 1, 3, 3] += 6 * float(tau.t2.max())

    strike_once(inner(protected), damage)
    out = run(protected, x)
    assert (out is None) == (not recompute)
    if out is not None:
        assert torch.equal(out, clean)
