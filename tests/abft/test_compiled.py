"""CoC-D in two calls of the native core: the sums, thresholds and verdicts of the float64 form."""

from __future__ import annotations

import copy
import math
import pickle
import random
import threading
from typing import Any

import pytest
import torch
from abft_support import Case, cases, guarded, inner, strike_once, wrapper
from hypothesis import given, settings
from torch import Tensor, nn

from holdfast.abft.compiled import Compiled
from holdfast.abft.detection import Exact
from holdfast.core.errors import FaultError
from holdfast.kernels import native

pytestmark = pytest.mark.skipif(not native.variants(), reason="the native core is not built")
FORMATS = {"first": torch.contiguous_format, "last": torch.channels_last}


def _agree(layer: nn.Module, x: Tensor) -> None:
    """What the core notes and finds for ``x`` is what the float64 form does."""
    protected = wrapper(guarded(layer))
    compiled, exact = Compiled.of(protected, x), Exact(protected)
    assert compiled is not None
    with torch.no_grad():
        out = layer(x)
        noted, summed = compiled.before(x), exact.before(x)
        assert torch.equal(noted.cd1, summed.cd1)
        assert noted.stats == pytest.approx(summed.stats, rel=1e-12)
        scale = float(summed.co5.abs().max())
        torch.testing.assert_close(noted.co5, summed.co5, rtol=1e-11, atol=1e-13 * scale)
        protected.guard.watch = lambda *_: None
        found, want = compiled.after(x, out, noted), exact.after(x, out, summed)
        assert found.threshold == pytest.approx(want.threshold, rel=1e-12)
        assert found.verdict.deviation == pytest.approx(want.verdict.deviation, abs=1e-9 * scale + 1e-30)
        assert found.clean
        assert want.clean
        compiled.done(noted)


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "size"),
    [
        (3, 7, 2, 3, (37, 45)),  # few channels: outputs side by side
        (3, 11, 4, 2, (51, 64)),
        (1, 3, 1, 1, (9, 70)),
        (7, 2, 3, 0, (11, 13)),
        (5, 3, 2, 5, (6, 4)),  # kernels that meet nothing but padding
        (64, 3, 1, 1, (14, 15)),
        (16, 5, 2, 2, (17, 9)),
        (9, 1, 1, 0, (7, 7)),
        (24, 1, 2, 0, (8, 9)),
    ],
)
def test_convolutions(
    n: int, layout: str, channels: int, kernel: int, stride: int, padding: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 6, kernel, stride, padding)
    _agree(layer, torch.randn(n, channels, *size).to(memory_format=FORMATS[layout]))


@settings(deadline=None, max_examples=60)
@given(case=cases((torch.float32,)))
def test_any_layer_that_it_takes(case: Case) -> None:
    if Compiled.of(wrapper(guarded(case.layer)), case.x) is not None:
        _agree(case.layer, case.x)


@pytest.mark.parametrize("shape", [(12,), (1, 12), (4, 12), (1, 5, 12), (3, 2, 5, 12)])
def test_matrix_products(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    _agree(nn.Linear(12, 7), torch.randn(shape))


def test_what_it_does_not_take() -> None:
    def taken(layer: nn.Module, x: Tensor) -> bool:
        return Compiled.of(wrapper(guarded(layer)), x) is not None

    x = torch.randn(2, 3, 8, 8)
    assert taken(nn.Conv2d(3, 4, 3), x)
    assert not taken(nn.Conv2d(3, 4, 3).double(), x.double())
    assert not taken(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), x)
    assert not taken(nn.ConvTranspose2d(3, 4, 3), x)
    assert not taken(nn.Conv3d(3, 4, 3), x[:, :, None])


@pytest.mark.parametrize("bad", [1.0, -1e30, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("position", [0, 1, 33, 48])
@pytest.mark.parametrize("n", [1, 3])
def test_what_is_off_is_found_where_it_is(n: int, position: int, bad: float) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 5, 3, padding=1)
    compiled = Compiled.of(wrapper(guarded(layer)), x := torch.randn(n, 8, 7, 7))
    assert compiled is not None
    with torch.no_grad():
        noted, out = compiled.before(x), layer(x)
        out.view(n, 5, 49)[-1, 3, position] += bad
        verdict = compiled.after(x, out, noted).verdict
    assert (verdict.violations, verdict.first) == (1, position)
    assert verdict.nonfinite == (0 if math.isfinite(bad) else 1)


def test_inputs_that_are_no_numbers_never_pass() -> None:
    protected = guarded(nn.Conv2d(8, 4, 3))
    for value in (math.nan, math.inf):
        x = torch.rand(1, 8, 6, 6)
        x[0, 0, 3, 3] = value
        with torch.no_grad(), pytest.raises(FaultError, match="non-finite input"):
            protected(x)


def _of_no_sum(bias: bool = False) -> nn.Linear:
    """Kernels that add up to exactly zero, and are not zero: Co5 is, whatever the input."""
    torch.manual_seed(0)
    layer = nn.Linear(12, 6, bias=bias)
    with torch.no_grad():
        layer.weight.copy_((layer.weight * 1024).round() / 1024)
        layer.weight[5] = -layer.weight[:5].sum(0)
    assert not layer.weight.double().sum(0).any()
    return layer


def _struck(model: nn.Module, x: Tensor, damage: Any, **options: Any) -> tuple[Tensor, Any]:
    protected = guarded(model)
    calls: list[int] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not calls:
            damage(args[0].detach())
        calls.append(1)

    protected.layers()[-1].fault_site.register_forward_pre_hook(hook)
    with torch.inference_mode():
        return protected(x), protected


@pytest.fixture(params=["core", "no core"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no core":
        monkeypatch.setattr(native, "load", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("change", ["add", "sign", "zero", "several"])
def test_a_damaged_input_that_cancels_in_co5_is_seen(
    core: str, n: int, dtype: torch.dtype, change: str
) -> None:
    model = nn.Sequential(nn.Linear(9, 12), nn.ReLU(), _of_no_sum()).to(dtype).eval()
    x = torch.randn(n, 9).to(dtype)
    with torch.inference_mode():
        clean = model(x)

    def damage(d: Tensor) -> None:
        at = d[-1].argmax()
        if change == "several":
            d[-1] += 0.5
        else:
            d[-1, at] = {"add": d[-1, at] + 0.5, "sign": -d[-1, at], "zero": 0.0}[change]

    out, protected = _struck(model, x, damage)
    assert torch.equal(out, clean)
    (event,) = protected.events
    assert (event.layer, event.corrected) == ("2", True)
    assert event.deviation <= event.threshold, "the output's sums show nothing"
    assert event.action in ("recomputed", "rerun")


def test_without_computing_again_such_a_fault_is_no_right_answer(core: str) -> None:
    """D comes back from Cd1, but nothing shows which blocks of O it spoiled."""
    model = nn.Sequential(nn.ReLU(), _of_no_sum()).eval()
    x = torch.rand(1, 12)
    with torch.inference_mode():
        clean = model(x)
    protected = guarded(model, recompute=False)

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not protected.events:
            args[0].detach()[0, 3] += 7.0

    protected.layers()[0].fault_site.register_forward_pre_hook(hook)
    with torch.inference_mode():
        try:
            out = protected(x)
        except FaultError:
            assert protected.events
        else:
            assert torch.equal(out, clean)
            assert protected.events[-1].action == "rerun"


def test_an_input_that_is_left_alone_raises_nothing(core: str) -> None:
    protected = guarded(_of_no_sum(bias=True))
    with torch.inference_mode():
        for n in (1, 2, 7):
            for scale in (0.0, 1e-30, 1.0, 1e20):
                protected(torch.randn(n, 12) * scale)
                protected(torch.randn(12, n).t() * scale)
    assert not protected.events


def test_copies_and_pickles_prepare_for_themselves() -> None:
    protected = guarded(nn.Conv2d(3, 4, 3))
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        want = protected(x)
        for twin in (copy.deepcopy(protected), pickle.loads(pickle.dumps(protected))):
            assert not wrapper(twin)._detections
            assert torch.equal(twin(x), want)
            strike_once(inner(twin), lambda out: out.view(-1)[5].fill_(1e9))
            torch.testing.assert_close(twin(x), want)
            assert len(twin.events) == 1
    assert not protected.events


def test_layers_inside_layers_and_threads_do_not_share_memory() -> None:
    protected, other = guarded(nn.Conv2d(8, 8, 3, padding=1)), guarded(nn.Conv2d(8, 4, 1))
    inputs = [torch.randn(random.Random(i).choice([1, 3]), 8, 6 + i, 9) for i in range(6)]

    def meanwhile(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        other(args[0] * 2)

    inner(protected).register_forward_pre_hook(meanwhile)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with torch.inference_mode():
                for _ in range(10):
                    for x in inputs:
                        protected(x)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert not protected.events
    assert not other.events


def test_old_forms_are_forgotten() -> None:
    protected = guarded(nn.Linear(4, 4))
    with torch.inference_mode():
        for n in range(1, 300):
            protected(torch.ones(n, 4))
    assert 0 < len(wrapper(protected)._detections) <= 256
