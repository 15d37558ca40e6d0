"""CoC-D where there is no native core: in float32, and in float64 where that does not do."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
import torch
from hostile_support import INPUTS, WEIGHTS, random_layer
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft.detection import Portable
from holdfast.abft.single import SingleThreshold, additions
from holdfast.abft.threshold import analytic, weight_scale
from holdfast.core import seeding
from holdfast.core.errors import FaultError
from holdfast.kernels import BatchStats, batch_sum, native


@pytest.fixture(autouse=True)
def without_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(native, "load", lambda: None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _no_false_alarm(checks: int, seed: int) -> None:
    draw = random.Random(seed)
    ratios: list[float] = []
    torch.manual_seed(seeding.derive(seed, "tensors"))
    with torch.inference_mode():
        while len(ratios) < checks:
            layer, shape = random_layer(draw)
            layer.weight.copy_(WEIGHTS[draw.choice(list(WEIGHTS))](layer.weight) * 10 ** draw.uniform(-9, 9))
            if layer.bias is not None:
                layer.bias.mul_(10 ** draw.uniform(-3, 6))
            protected = protect(layer, on_fault="raise", plan=None, fuse=False)
            for name in INPUTS:
                x = INPUTS[name](torch.randn(shape)) * 10 ** draw.uniform(-18, 18)
                if x.dim() == 4 and draw.random() < 0.5:
                    x = x.to(memory_format=torch.channels_last) if draw.random() < 0.7 else x.transpose(2, 3)
                protected(x)  # raises FaultError for a false alarm
                with protected.guard.watched(lambda _, deviation, tau: ratios.append(deviation / tau)):
                    protected(x)
    assert max(ratios) <= 1.0


def test_no_false_alarm() -> None:
    _no_false_alarm(600, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_no_false_alarm_in_ten_thousand_checks(seed: int) -> None:
    _no_false_alarm(10_000, seed)


@pytest.mark.parametrize("n", [1, 2, 16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_a_damaged_output_is_corrected(n: int, bad: float, layout: torch.memory_format) -> None:
    layer = nn.Conv2d(16, 8, 3, padding=1)
    x = torch.randn(n, 16, 9, 9).to(memory_format=layout)
    clean = layer(x)
    protected = protect(nn.Sequential(layer), plan=None, fuse=False)

    def damage(_: nn.Module, __: object, out: Tensor) -> None:
        out[-1, 3, 2, 5] = bad

    with torch.no_grad():
        handle = protected.fault_site[0].fault_site.register_forward_hook(damage)
        out = protected(x)
        handle.remove()
        assert [event.corrected for event in protected.events] == [True]
        assert protected.events[0].location == (2, 5)
        assert torch.allclose(out, clean, rtol=1e-5, atol=1e-5)
        protected(x)
    assert len(protected.events) == 1


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("change", ["sign", "large", "nan"])
def test_a_damaged_input_is_computed_again(n: int, change: str) -> None:
    """Cd1 is no copy of the input: only what made it can bring it back."""
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1))
    x = torch.randn(n, 3, 9, 9)
    clean = model(x)
    protected = protect(model, plan=None, fuse=False)
    hits = iter([True])

    def damage(_: nn.Module, args: tuple[Tensor]) -> None:
        if next(hits, False):
            values = args[0].view(-1)
            at = int(values[: values.numel() // n].argmax())
            values[at] = {"sign": -values[at], "large": torch.tensor(1e10), "nan": torch.tensor(math.nan)}[
                change
            ]

    with torch.no_grad():
        protected.fault_site[2].fault_site.register_forward_pre_hook(damage)
        assert torch.equal(protected(x), clean)
    assert [(event.action, event.corrected) for event in protected.events] == [("rerun", True)]


def test_sums_that_float32_does_not_hold_are_taken_in_float64() -> None:
    layer = nn.Conv2d(4, 4, 3)
    protected = protect(layer, on_fault="raise", plan=None, fuse=False)
    for scale in (0.0, 1e-30, 1e-18, 1e16, 1e25):
        protected(torch.randn(2, 4, 6, 6) * scale)
    with pytest.raises(FaultError, match="non-finite input"):
        protected(torch.full((1, 4, 6, 6), math.nan))


def test_float32_sums_of_finite_outputs_may_overflow() -> None:
    layer = nn.Linear(1, 4096, bias=False)
    layer.weight.data.fill_(1e30)
    protected = protect(layer, on_fault="raise", plan=None, fuse=False)
    protected(torch.full((1, 1), 2e6))


def test_only_float32_is_taken() -> None:
    layer = protect(nn.Linear(4, 4), plan=None, fuse=False).layers()[0]
    assert Portable.takes(layer, torch.ones(1, 4))
    assert not Portable.takes(layer, torch.ones(1, 4, dtype=torch.float64))


def test_gradients_flow() -> None:
    layer = nn.Conv2d(3, 4, 3)
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    protect(layer, plan=None, fuse=False)(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None


@pytest.mark.parametrize("channels", [16, 64, 512])
@pytest.mark.parametrize("n", [1, 16])
def test_threshold_stays_near_that_of_float64(channels: int, n: int) -> None:
    layer = nn.Conv2d(channels, channels, 3, padding=1)
    _, stats = batch_sum(torch.randn(n, channels, 7, 7).relu())
    scale = weight_scale(layer.weight, layer.bias)
    single = SingleThreshold.of(scale, layer.weight.detach().double().sum(0), n, torch.float32)
    exact = analytic(scale, stats, n, torch.float32)
    assert exact < single(stats) < 2 * exact
    least = single.least(n * channels * 49)(stats.sum_squares, stats.total_squares)
    assert single(stats) / 6 < least <= single(stats)


def test_additions_of_a_cascade() -> None:
    assert [additions(count) for count in (1, 2, 16, 17, 256, 257)] == [0, 1, 15, 16, 32, 48]


def test_the_least_threshold_is_below_for_any_maxima() -> None:
    draw = random.Random(0)
    for _ in range(200):
        layer, shape = random_layer(draw)
        x = torch.randn(shape) * (torch.rand(shape) < draw.random())
        if not x.any():
            continue
        weight = layer.weight.detach()
        n, cw1 = len(x), weight.double().sum(0)
        single = SingleThreshold.of(weight_scale(weight, layer.bias), cw1, n, torch.float32)
        stats: BatchStats = batch_sum(x)[1]
        least = single.least(x.numel())
        assert least(stats.sum_squares, stats.total_squares) <= single(stats) * (1 + 1e-12)
