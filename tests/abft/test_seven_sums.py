"""Fault-free deviations of all seven sums lie below their thresholds; what is twice above is detected."""

from __future__ import annotations

import math

import pytest
import torch
from abft_support import Case, blocks, cases, guarded, inner, run, taus, wrapper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast.abft import Protected
from holdfast.abft.checksum import block_sums, image_sum
from holdfast.abft.product import every_position

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
INPUTS = {
    "as it is": lambda x: x,
    "zero": torch.zeros_like,
    "constant": lambda x: torch.full_like(x, 0.1),
    "the same image": lambda x: x[:1].expand_as(x).clone(),
    "tiny": lambda x: x * 1e-36,
    "offset": lambda x: x + 100,
}
WEIGHTS = {
    "as they are": lambda w: w,
    "positive": torch.abs,
    "constant": lambda w: torch.full_like(w, 0.1),
    "the same kernel": lambda w: w[:1].expand_as(w).clone(),
    "binary": lambda w: w.sign() * 0.3,
}


def deviations(case: Case) -> list[float]:
    """The largest of each of S1 … S7 from Co1 … Co7, over its threshold."""
    protected, out = guarded(case.layer), case.clean
    layer = wrapper(protected)
    d, found = layer.canonical(case.x), layer.product
    free = blocks(protected, out).double()
    if layer.bias is not None:
        free = free - layer.bias.detach().double()[:, None]
    at = every_position(found.window, d.shape[2:])
    cd1, cd2 = image_sum(d), image_sum(d, weighted=True)
    co1, co3 = (found.by_kernels(each[None], at)[0] for each in (cd1, cd2))
    co2, co4 = found.by_sums(d, at, [found.cw1, found.cw2]).unbind(1)
    co5, co6 = found.by_sums(cd1[None], at, [found.cw1, found.cw2])[0]
    co7 = found.by_sums(cd2[None], at, [found.cw1])[0, 0]
    co = (co1, co2, co3, co4, co5, co6, co7)
    tau = taus(protected, case.x, out)
    return [float(((c - s).abs() / t).max()) for c, s, t in zip(co, block_sums(free), tau, strict=True)]


def check(case: Case, weights: str, inputs: str) -> None:
    """With other weights and inputs than those that were drawn."""
    with torch.no_grad():
        case.layer.weight.copy_(WEIGHTS[weights](case.layer.weight))
    ratios = deviations(Case(case.layer, INPUTS[inputs](case.x), case.seed))
    assert max(ratios) <= 1, ratios


@SETTINGS
@given(case=cases(), weights=st.sampled_from(list(WEIGHTS)), inputs=st.sampled_from(list(INPUTS)))
def test_all_seven_sums_stay_below_their_thresholds(case: Case, weights: str, inputs: str) -> None:
    check(case, weights, inputs)


@pytest.mark.slow
@settings(SETTINGS, max_examples=5000)
@given(case=cases(), weights=st.sampled_from(list(WEIGHTS)), inputs=st.sampled_from(list(INPUTS)))
def test_all_seven_sums_stay_below_their_thresholds_many_times(case: Case, weights: str, inputs: str) -> None:
    check(case, weights, inputs)


# ---- the floor ---------------------------------------------------------------------------------------------


class Strike:
    """Adds ``size`` to one random number of a tensor, whatever its layout."""

    def __init__(self, case: Case, size: float) -> None:
        self.generator, self.size = case.generator, size

    def __call__(self, values: Tensor) -> None:
        """In place."""
        index = tuple(int(torch.randint(size, (), generator=self.generator)) for size in values.shape)
        values.detach()[index] += self.size


def sums(protected: Protected, out: Tensor) -> Tensor:
    """S5 in float64."""
    return blocks(protected, out).double().sum((0, 1))


def check_floor(case: Case, site: str, factor: float) -> None:
    """Strike once at ``site``; an effect of 2τ on a position of S5 or Co5 must make an event."""
    protected, clean = guarded(case.layer), case.clean
    protected.guard.on_fault = "record"
    tau = taus(protected, case.x, clean).t5
    layer = inner(protected)
    if site in ("cd1", "cw1", "co5"):
        co5: list[Tensor] = []

        def tap(name: str, at: str, values: Tensor) -> None:
            if at == site and len(co5) == 1:
                Strike(case, factor * (tau if site == "co5" else float(values.abs().max())))(values)
            if at == "co5":
                co5.append(values.clone())

        protected.guard.tap = tap
        run(protected, case.x)
        assert not protected.events
        run(protected, case.x)
        effect = co5[1] - co5[0]
    else:
        struck = clean.clone()
        if site == "output":
            Strike(case, factor * tau)(struck)
        else:
            weight, x = layer.weight.detach(), case.x.clone()
            before = weight.clone()
            hit = weight if site == "weight" else x
            Strike(case, factor * float(hit.abs().max()))(hit)
            with torch.no_grad():
                struck = layer(x)
            if site == "weight":
                found = [fault.name for fault in protected.verify_weights(repair=False)]
                assert found == ([] if torch.equal(weight, before) else ["weight"])
            weight.copy_(before)
        layer.register_forward_hook(lambda module, args, out: struck.clone())
        run(protected, case.x)
        effect = sums(protected, struck) - sums(protected, clean)
    if not bool((effect.abs() < 2 * tau).all()):
        assert protected.events


SITES = ("output", "weight", "input", "cd1", "cw1", "co5")


@SETTINGS
@given(case=cases(), site=st.sampled_from(SITES), factor=st.floats(-4, 12))
def test_every_effect_of_two_thresholds_is_detected(case: Case, site: str, factor: float) -> None:
    check_floor(case, site, 10**factor if site in ("output", "co5") else 10 ** (factor - 10))


@pytest.mark.slow
@settings(SETTINGS, max_examples=5000)
@given(case=cases(), site=st.sampled_from(SITES), factor=st.floats(-4, 12))
def test_every_effect_of_two_thresholds_is_detected_many_times(case: Case, site: str, factor: float) -> None:
    check_floor(case, site, 10**factor if site in ("output", "co5") else 10 ** (factor - 10))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("site", ["cd1", "cw1", "co5"])
def test_a_checksum_that_is_not_finite_is_detected(site: str, value: float) -> None:
    protected = guarded(nn.Conv2d(2, 3, 3).eval())
    protected.guard.tap = lambda name, at, values: values.view(-1)[0].fill_(value) if at == site else None
    run(protected, torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0)))
    assert protected.events
