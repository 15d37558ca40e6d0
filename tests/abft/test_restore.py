"""Damaged inputs: restored bit for bit, or the model is run again, or a FaultError; never a wrong answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from abft_support import Case, cases, guarded, inner, taus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft.restore import restore_input
from holdfast.core.errors import FaultError
from holdfast.kernels import batch_sum

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
DAMAGES: dict[str, Callable[[Tensor], None]] = {
    "sign": lambda at: at.neg_(),
    "large": lambda at: at.fill_(1e30),
    "larger": lambda at: at.mul_(64).add_(1),
    "a little": lambda at: at.mul_(1.01),
    "zero": lambda at: at.zero_(),
    "inf": lambda at: at.fill_(math.inf),
    "nan": lambda at: at.fill_(math.nan),
}


def _relu_batch(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 5, 6, generator=torch.Generator().manual_seed(seed)).relu()


def _restore(d: Tensor, damage: Callable[[Tensor], Any]) -> bool:
    cd1, stats = batch_sum(d)
    damage(d)
    return restore_input(d, cd1, batch_sum(d)[0], stats)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "sign"])
@pytest.mark.parametrize("n", [2, 5])
def test_one_element_of_a_batch_comes_back_bit_for_bit(n: int, damage: str) -> None:
    for index in range(0, n * 90, 7):
        d = _relu_batch(n)
        want = d.clone()
        before = d.view(-1)[index].item()
        if not _restore(d, lambda d, index=index: DAMAGES[damage](d.view(-1)[index])):
            # Too little for Σ D² to show, or (0, v) against (v, 0).
            assert before == 0 or damage in ("a little", "zero")
            continue
        assert torch.equal(d, want)


def test_anything_comes_back_at_batch_one() -> None:
    d = _relu_batch(1)
    want = d.clone()
    assert _restore(d, lambda d: d.mul_(-3.5)[0, 1].fill_(math.nan))
    assert torch.equal(d, want)


def test_what_it_cannot_tell_it_leaves_alone() -> None:
    d = _relu_batch(3)
    damaged = []
    assert not _restore(d, lambda d: damaged.append(d[1, 0, 0, :2].add_(1).sum() and d.clone()))
    assert torch.equal(d, damaged[0])
    # (2, 3) became (3, 3): it may have been (3, 2) as well.
    d = _relu_batch(2)
    d[:, 0, 0, 0] = torch.tensor([2.0, 3.0])
    assert not _restore(d, lambda d: d[0, 0, 0, 0].fill_(3.0))
    assert d[:, 0, 0, 0].tolist() == [3.0, 3.0]


def check(case: Case, damage: str, many: bool, recompute: bool) -> None:
    """A feature map between two layers is damaged in the middle of the second one's call."""
    first = nn.Identity()
    model = nn.Sequential(nn.ReLU(), first, case.layer)
    protected = protect(model, plan=None, fuse=False)
    if not recompute:
        protected.guard.rungs = guarded(case.layer, recompute=False).guard.rungs
    with torch.no_grad():
        clean = protected(case.x).clone()
        d = case.x.relu()
    index = torch.randint(d.numel(), (3 if many else 1,), generator=case.generator)
    calls: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not calls:
            values = args[0].detach().view(-1)
            for each in index:
                DAMAGES[damage](values[each])
        calls.append(args[0])

    protected.layers()[0].fault_site.register_forward_pre_hook(hook)
    with torch.no_grad():
        try:
            out = protected(case.x)
        except FaultError:
            pytest.fail(f"{protected.events}")
    if protected.events:
        assert protected.events[-1].corrected
        if recompute or protected.events[-1].action == "rerun":
            torch.testing.assert_close(out, clean, rtol=0, atol=0)
        assert torch.equal(calls[-1], d)
    else:  # below the threshold
        tau = taus(guarded(case.layer), d, clean)
        sums = (out.double() - clean.double()).abs()
        assert float(sums.max()) <= 2 * (tau.t5 + float(tau.t1.max())) or damage != "inf"


@SETTINGS
@given(case=cases(), damage=st.sampled_from(list(DAMAGES)), many=st.booleans(), recompute=st.booleans())
def test_a_damaged_feature_map(case: Case, damage: str, many: bool, recompute: bool) -> None:
    check(case, damage, many, recompute)


@pytest.mark.slow
@settings(SETTINGS, max_examples=3000)
@given(case=cases(), damage=st.sampled_from(list(DAMAGES)), many=st.booleans(), recompute=st.booleans())
def test_a_damaged_feature_map_many_times(case: Case, damage: str, many: bool, recompute: bool) -> None:
    check(case, damage, many, recompute)


@pytest.mark.parametrize("n", [1, 3])
def test_a_flipped_sign_is_no_damaged_checksum(n: int) -> None:
    """Σ D² does not see it, and at batch 1 nor does Σ Cd1²: D is doubted as well as Cd1."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    protected = protect(model, plan=None, fuse=False)
    x = torch.randn(n, 3, 9, 9)
    struck: list[int] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not struck:
            struck.append(1)
            largest = args[0].detach().view(-1).argmax()
            args[0].detach().view(-1)[largest].neg_()

    with torch.no_grad():
        clean = model(x)
        protected.layers()[1].fault_site.register_forward_pre_hook(hook)
        assert torch.equal(protected(x), clean)
    assert [(event.action, event.corrected) for event in protected.events] == [("rerun", True)]


@pytest.mark.parametrize("fuse", [False, True])
def test_the_models_own_input_cannot_be_computed_again(fuse: bool) -> None:
    """Run again, the model would read the damaged batch, find it in order, and answer wrongly."""
    protected = protect(nn.Conv2d(3, 4, 3), plan=None, fuse=fuse)
    x = torch.randn(4, 3, 9, 9)
    struck: list[int] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not struck:
            args[0].detach()[1, :, 2:4].add_(100)
        struck.append(1)

    inner(protected).register_forward_pre_hook(hook)
    with torch.no_grad(), pytest.raises(FaultError, match=r"the input of the model.*fresh copy"):
        protected(x)
    assert len(struck) == 1
    assert not protected.events[-1].corrected


def test_a_batch_whose_squares_overflow_is_left_alone() -> None:
    d = torch.full((2, 3), 1e200, dtype=torch.float64)
    assert not _restore(d, lambda d: d[0, 0].fill_(1.0))
