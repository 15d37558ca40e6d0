"""The analytic threshold lies above every fault-free deviation, and not far above."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hostile_support import INPUTS, WEIGHTS, random_layer
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft import layers
from holdfast.abft.threshold import analytic, weight_scale
from holdfast.core import seeding
from holdfast.kernels import Verdict, batch_sum

Ratios = list[float]


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> Ratios:
    """Deviation over threshold of every check that a test makes."""
    seen: Ratios = []
    check = layers.check_sums

    def spy(out: Tensor, expected: Tensor, offset: float, threshold: float, last: bool) -> Verdict:
        verdict = check(out, expected, offset, threshold, last)
        seen.append(verdict.deviation / threshold)
        return verdict

    monkeypatch.setattr(layers, "check_sums", spy)
    return seen


def _no_false_alarm(checks: int, seed: int, ratios: Ratios, dtype: torch.dtype = torch.float32) -> None:
    draw = random.Random(seed)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seeding.derive(seed, "tensors"))
        while len(ratios) < checks:
            layer, shape = random_layer(draw)
            layer.weight.copy_(WEIGHTS[draw.choice(list(WEIGHTS))](layer.weight) * 10 ** draw.uniform(-6, 6))
            if layer.bias is not None:
                layer.bias.mul_(10 ** draw.uniform(-3, 6))
            protected = protect(layer.to(dtype), on_fault="raise")
            for name in INPUTS:
                x = INPUTS[name](torch.randn(shape)) * 10 ** draw.uniform(-6, 6)
                if x.dim() == 4 and draw.random() < 0.5:
                    x = x.to(memory_format=torch.channels_last) if draw.random() < 0.7 else x.transpose(2, 3)
                protected(x.to(dtype))  # raises FaultError for a false alarm
    assert max(ratios) <= 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_no_false_alarm(ratios: Ratios, dtype: torch.dtype) -> None:
    _no_false_alarm(600, 0, ratios, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_no_false_alarm_in_ten_thousand_checks(ratios: Ratios, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _no_false_alarm(10_000, threads, ratios)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 64])
@pytest.mark.parametrize("channels", [3, 64, 512])
def test_threshold_is_small_beside_the_output(n: int, channels: int) -> None:
    """A change of one element as large as the output's spread is far above it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Conv2d(channels, 64, 3, padding=1)
        x = torch.randn(n, channels, 7, 7).relu()
        out = layer(x).detach()
    threshold = analytic(weight_scale(layer.weight, layer.bias), batch_sum(x)[1], n, torch.float32)
    assert 0 < threshold < 0.02 * n**0.5 * float(out.std())


def test_coarser_arithmetic_has_a_wider_threshold() -> None:
    scale = weight_scale(torch.ones(2, 3), torch.ones(2))
    _, stats = batch_sum(torch.ones(4, 3))
    taus = [analytic(scale, stats, 4, t) for t in (torch.float64, torch.float32, torch.bfloat16)]
    assert taus == sorted(taus)
    assert taus[2] / taus[1] == pytest.approx(2.0**16, rel=1e-3)


def test_zero_input_leaves_a_threshold_above_zero() -> None:
    _, stats = batch_sum(torch.zeros(1, 3))
    tau = analytic(weight_scale(torch.ones(2, 3)), stats, 1, torch.float32)
    assert 0 < tau < 1e-30


def test_groups_by_hand() -> None:
    """Two equal kernels in two groups: Σω² = 2·1.5, together ω(2)² = 6, so Ω = 3."""
    scale = weight_scale(torch.ones(2, 1, 1, 1), groups=2)
    assert (scale.products, scale.outputs) == (1, 2)
    assert scale.kernels == pytest.approx(3.0)
    assert scale.one_sided == 2.0
    assert math.isclose(weight_scale(torch.ones(2, 1, 1, 1), torch.ones(2), 2).bias ** 2, 2 * (1 + 2) + 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("positive", [0.7, 0.84, 1.0])
@pytest.mark.parametrize("bias", [0.0, 10.0, 3000.0])
def test_equal_steps_raise_no_false_alarm(bias: float, positive: float, dtype: torch.dtype) -> None:
    """Constant images and kernels of one or two values: the same rounding thousands of times, one way.

    float64 on torch's own kernels once exceeded a threshold four times that knew of chance only.
    """
    draw = torch.Generator().manual_seed(0)
    for _ in range(4):
        layer = nn.Conv3d(32, 1, 5, bias=bias > 0).to(dtype).eval()
        size, value, offset = torch.rand(3, generator=draw).tolist()
        with torch.no_grad():
            signs = (torch.rand(layer.weight.shape, generator=draw) < positive) * 2.0 - 1.0
            layer.weight.copy_(0.1 * size * signs)
            if layer.bias is not None:
                layer.bias.fill_(bias * (1 + offset))
        protected = protect(layer, plan=None, on_fault="raise", fuse=False)
        seen: list[float] = []
        with (
            protected.guard.watched(lambda name, off, tau, into=seen: into.append(off / tau)),
            torch.no_grad(),
        ):
            protected(torch.full((3, 32, 5, 5, 5), 0.1 * value, dtype=dtype))
        assert max(seen) <= 0.8
