"""Faults in weights and in every checksum: never a wrong answer, and right data stay as they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from abft_support import (
    Case,
    assert_within,
    blocks,
    cases,
    guarded,
    inner,
    run,
    strike_once,
    taus,
    wrapper,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promise_support import assert_never_worse
from torch import Tensor, nn

from holdfast.core.protocols import CHECKSUM_SITES, EVERY_CALL

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
VALUES = (1e3, -1e38, math.inf, math.nan, 1e-3)


class Tap:
    """Damages one number of a checksum, the first time that it is used."""

    def __init__(self, site: str, value: float, generator: torch.Generator) -> None:
        self.site, self.value, self.generator = site, value, generator
        self.struck = False

    def __call__(self, layer: str, site: str, values: Any) -> None:
        """What ``Guard.tap`` calls."""
        if site != self.site or self.struck:
            return
        self.struck = True
        index = [int(torch.randint(size, (), generator=self.generator)) for size in values.shape]
        old = float(values[tuple(index)])
        values[tuple(index)] = old * (1 + self.value) + self.value if abs(self.value) < 1e30 else self.value


def check(case: Case, site: str, value: float, recompute: bool) -> None:
    """Without a fault of the output, for what is used at every call; with one for the others."""
    protected = guarded(case.layer, recompute)
    clean = case.clean
    tau = taus(protected, case.x, clean)
    tap = Tap(site, value, case.generator)
    protected.guard.tap = tap
    if site not in EVERY_CALL:
        where = [
            int(torch.randint(size, (), generator=case.generator)) for size in blocks(protected, clean).shape
        ]
        error = 1e4 * max(tau.t5, float(tau.t1.max()), float(tau.t2.max()))
        strike_once(inner(protected), lambda out: blocks(protected, out)[tuple(where)].add_(error))
    out = run(protected, case.x)
    if out is None:
        # Two faults at once may be too many for the ladder alone.
        assert site not in EVERY_CALL
        assert not recompute
    elif site in EVERY_CALL:
        assert tap.struck
        assert torch.equal(out, clean)
    else:
        assert_within(protected, out, clean, tau)
    assert all(event.corrected for event in protected.events if out is not None)
    # What is stored has been renewed, or is right but for a fault too small to show.
    protected.guard.tap = None
    protected.clear_events()
    if out is not None and site not in ("cw1", "cw2"):
        assert torch.equal(run(protected, case.x), clean)
        assert not protected.events


@SETTINGS
@given(
    case=cases(), site=st.sampled_from(CHECKSUM_SITES), value=st.sampled_from(VALUES), recompute=st.booleans()
)
def test_damaged_checksums(case: Case, site: str, value: float, recompute: bool) -> None:
    check(case, site, value, recompute)


@pytest.mark.slow
@settings(SETTINGS, max_examples=1000)
@given(
    case=cases(), site=st.sampled_from(CHECKSUM_SITES), value=st.sampled_from(VALUES), recompute=st.booleans()
)
def test_damaged_checksums_many_times(case: Case, site: str, value: float, recompute: bool) -> None:
    check(case, site, value, recompute)


def check_weight(case: Case, value: float, recompute: bool, parameter: str) -> None:
    """Above the threshold the output is that of the pristine weights, and they are back; never in between."""
    protected = guarded(case.layer, recompute)
    clean = case.clean
    tau = taus(protected, case.x, clean)
    memory = getattr(case.layer, parameter).detach().view(-1)
    pristine = memory.clone()
    index = int(torch.randint(len(memory), (), generator=case.generator))
    new = memory[index : index + 1].clone()
    new[0] = new[0] * (1 + value) + value if abs(value) < 1e30 else value
    # As a fault does it: torch is not told, so it cannot be taken for a deliberate change.
    memory[index : index + 1].view(torch.uint8).numpy()[:] = new.view(torch.uint8).numpy()
    with torch.no_grad():
        damaged = case.layer(case.x).clone()
    out = run(protected, case.x)
    if out is None:
        assert not recompute
    elif protected.events:
        assert_never_worse(protected, out, damaged, clean, tau)
        if "recomputed" in protected.events[0].rungs:
            assert torch.equal(out, clean)
        again = run(protected, case.x)
        assert again is not None
        assert_never_worse(protected, again, damaged, clean, tau)
        # At batch 1 a column is a block: CoC corrects it at every call, and asks for no weights.
        if protected.events[0].scheme != "CoC":
            assert torch.equal(memory, pristine)
            assert len(protected.events) == 1
    else:
        change = blocks(protected, out).double() - blocks(protected, clean).double()
        assert not bool((change.sum((0, 1)).abs() > 2 * tau.t5).any())
    protected.verify_weights()
    assert torch.equal(memory, pristine)


@SETTINGS
@given(case=cases(), value=st.sampled_from(VALUES), recompute=st.booleans())
def test_damaged_weights(case: Case, value: float, recompute: bool) -> None:
    check_weight(case, value, recompute, "weight")


@SETTINGS
@given(case=cases(), value=st.sampled_from(VALUES), recompute=st.booleans())
def test_damaged_biases(case: Case, value: float, recompute: bool) -> None:
    if case.layer.bias is not None:
        check_weight(case, value, recompute, "bias")


@pytest.mark.slow
@settings(SETTINGS, max_examples=3000)
@given(case=cases(), value=st.sampled_from(VALUES), recompute=st.booleans())
def test_damaged_weights_many_times(case: Case, value: float, recompute: bool) -> None:
    check_weight(case, value, recompute, "weight")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("value", VALUES)
def test_every_copy_of_cw1_is_renewed(value: float, channels_last: bool) -> None:
    """Cw1 is kept in the layouts that the kernels read; damage of any of them does not stay."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1).eval()
    x = torch.randn(2, 3, 6, 6)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    with torch.no_grad():
        clean = layer(x)
    protected = guarded(layer)
    tap = Tap("cw1", value, torch.Generator().manual_seed(0))
    protected.guard.tap = tap
    out = run(protected, x)
    assert tap.struck
    assert out is not None
    assert torch.equal(out, clean)
    assert [event.corrected for event in protected.events] == [True]
    assert "checksums renewed" in protected.events[0].rungs
    assert torch.equal(run(protected, x), clean)
    assert len(protected.events) == 1
    assert wrapper(protected).product.as_made()


def zero_sum(m: int) -> Tensor:
    """Kernels 1, −1, 1, −1, …: Cw1 is zero where there is an even number of them."""
    weight = torch.ones(m, 1, 3, 3)
    weight[1::2] = -1
    weight[:, :, 1, 1] = torch.arange(1.0, m + 1)[:, None]  # but not in the middle
    return weight


@pytest.mark.usefixtures("free_rungs")
@pytest.mark.parametrize("recompute", [True, False])
def test_errors_that_cancel_in_co5_do_not_stay(recompute: bool) -> None:
    """D is hit inside the layer: at the middle tap every channel shows it, at the others they cancel in S5.

    Correcting only what CoC-D has found would leave eight positions wrong, and call them right.
    """
    layer = nn.Conv2d(1, 6, 3, padding=1, bias=False).eval()
    with torch.no_grad():
        layer.weight.copy_(zero_sum(6))
    x = torch.randn(3, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    clean = layer(x).detach()
    protected = guarded(layer, recompute)
    struck: list[int] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        damaged = args[0].clone()
        if not struck:
            damaged[1, 0, 20, 20] += 1e4
        struck.append(1)
        return (damaged,)

    inner(protected).register_forward_pre_hook(hook)
    out = run(protected, x)
    (event,) = protected.events
    if recompute:
        assert out is not None
        torch.testing.assert_close(out, clean)
        assert event.action == "recomputed"
    else:
        assert out is None
        assert "RC" in event.rungs
