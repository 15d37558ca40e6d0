"""The defects of the authors' code (ft-caffe), each as a counter-example, in a protected layer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from abft_support import assert_within, guarded, inner, run, strike_once, taus
from torch import Tensor, nn

from holdfast.abft import schemes
from holdfast.abft.ladder import TRIES
from holdfast.abft.schemes import CLEAN
from holdfast.abft.threshold import Thresholds
from holdfast.core.errors import FaultError


@pytest.fixture
def layer() -> nn.Module:
    """576 channels: enough for the wrong location 573."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 576, 3, padding=1).eval()
    nn.init.normal_(layer.bias, std=10.0)
    return layer


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [0.5, -0.5, 50.0])
def test_1_bias_and_checksums_count_channels_alike(layer: nn.Module, batch: Tensor, size: float) -> None:
    """Bias weights 0 … M−1 beside checksum weights 1 … M put m = 41, off by 0.5, at 573."""
    protected = guarded(layer, recompute=False)
    with torch.no_grad():
        clean = layer(batch)
    strike_once(inner(protected), lambda out: out[1, 41, 2, 5].add_(size))
    out = run(protected, batch)
    assert out is not None
    assert (out != clean).nonzero().tolist() in ([], [[1, 41, 2, 5]])
    torch.testing.assert_close(out, clean, rtol=1e-5, atol=1e-3)
    # An error whose quotient rounding could move is left to RC, which knows the channel without one.
    assert protected.events[0].scheme == ("CoC" if size == 50.0 else "RC")


def _all_verdicts(blocks: Tensor) -> list[int]:
    """What the five schemes say of (1, 1, 1) ``blocks`` whose checksums are all 0."""
    zero, each = torch.zeros(1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    t = torch.ones(1, 1)
    tau = Thresholds(t, t, t, t, 1.0, 1.0, 1.0)
    return [
        int(found.state)
        for found in (
            schemes.coc_d(blocks, zero, tau),
            schemes.coc(blocks, zero, zero, zero, tau),
            schemes.row(blocks, each, each, tau),
            schemes.column(blocks, each, each, tau),
            schemes.full(blocks, each, each, zero, zero, zero, tau),
        )
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_2_what_is_not_finite_is_never_clean(layer: nn.Module, batch: Tensor, value: float) -> None:
    """``fabs(NaN) > bound`` is false, so that a NaN passed as clean."""
    assert CLEAN not in _all_verdicts(torch.full((1, 1, 1), value, dtype=torch.float64))
    protected = guarded(layer)
    with torch.no_grad():
        clean = layer(batch)
    strike_once(inner(protected), lambda out: out[1, 41, 2, 5].fill_(value))
    out = run(protected, batch)
    assert out is not None
    torch.testing.assert_close(out, clean)
    assert protected.events[0].kind == "non-finite"


@pytest.mark.parametrize("sign", [1, -1])
def test_3_deviations_of_either_sign_count_and_the_bias_does_not(
    layer: nn.Module, batch: Tensor, sign: int
) -> None:
    """Equality without ``fabs``; a checksum free of bias against sums that were not."""
    assert CLEAN not in _all_verdicts(torch.full((1, 1, 1), sign * 9.0, dtype=torch.float64))
    protected = guarded(layer)
    with torch.no_grad():
        clean = layer(batch)
    assert torch.equal(run(protected, batch), clean)
    assert not protected.events
    strike_once(inner(protected), lambda out: out[0, 7, 0, 0].add_(sign * 9.0))
    out = run(protected, batch)
    assert out is not None
    torch.testing.assert_close(out, clean, rtol=1e-5, atol=1e-3)
    assert [event.corrected for event in protected.events] == [True]


@pytest.mark.parametrize("copy", [True, False])
def test_4_a_persistent_weight_fault_does_not_run_for_ever(
    layer: nn.Module, batch: Tensor, copy: bool
) -> None:
    """They compute again with the same damaged weight. Here it is reloaded, or the tries are counted."""
    protected = guarded(layer)
    if not copy:
        protected.keeper._copies.clear()
    with torch.no_grad():
        clean = layer(batch)
    calls: list[int] = []
    original = nn.Conv2d.forward

    def counted(self: nn.Conv2d, x: Tensor) -> Tensor:
        calls.append(1)
        return original(self, x)

    memory = layer.weight.detach().view(-1)[5:6].view(torch.uint8).numpy()
    memory[:] = torch.tensor([1e4]).view(torch.uint8).numpy()
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(nn.Conv2d, "forward", counted)
        if copy:
            assert torch.equal(protected(batch), clean)
        else:
            with pytest.raises(FaultError, match="weight is damaged"):
                protected(batch)
    assert len(calls) == 1 + TRIES, "once more before the weights are looked at, once after"


def test_5_every_bit_of_an_output(layer: nn.Module, batch: Tensor) -> None:
    """They add 1 … 100000; here all 32 bits are flipped, from the last one to those that make 1e38 or Inf."""
    with torch.no_grad():
        clean = layer(batch)
    found = []
    for bit in range(32):
        protected = guarded(layer, recompute=False)

        def flip(out: Tensor, bit: int = bit) -> Any:
            word = out[2, 100, 3, 3].view(torch.int32)
            word ^= -(2**31) if bit == 31 else 2**bit

        strike_once(inner(protected), flip)
        out = run(protected, batch)
        assert out is not None
        if protected.events:
            found.append(bit)
            assert_within(protected, out, clean, taus(protected, batch, clean))
        else:
            tau = taus(protected, batch, clean).t5
            assert float((out - clean).abs().max()) < 2 * tau
    assert set(range(22, 32)) <= set(found)
