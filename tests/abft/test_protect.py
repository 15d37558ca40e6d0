"""What ``protect`` promises: the same model, checked; faults corrected, told, or raised."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from abft_support import Net, layer_named, spoil
from torch import Tensor, nn

import holdfast
from holdfast.abft import Event, protect
from holdfast.core import protocols
from holdfast.core.errors import FaultError, UsageError


def test_same_answer_and_no_event(net: Net, x: Tensor) -> None:
    protected = protect(net)
    assert protected.protected_layers == ["stem", "deep", "twice", "down.0", "head"]
    assert protected.unprotected == []
    assert torch.equal(protected(x, scale=2.0), net(x, scale=2.0))
    assert protected.events == []
    assert isinstance(protected, protocols.Protected)
    assert holdfast.protect is protect


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("name", ["stem", "deep", "twice", "down.0", "head"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, 1e4, -50.0], ids=str)
def test_a_damaged_output_is_corrected(net: Net, x: Tensor, name: str, value: float, fuse: bool) -> None:
    """One element: CoC puts it right, and nothing is computed again, where that is the cheaper way."""
    protected = protect(net, plan=None, fuse=fuse)
    clean = net(x)
    layer_named(protected, name).register_forward_hook(spoil(value))
    with torch.inference_mode():
        torch.testing.assert_close(protected(x), clean, rtol=1e-5, atol=1e-6)
    (event,) = protected.events
    assert isinstance(event, Event)
    cheap = name in ("down.0", "head")  # to compute again
    expected = ("recomputed",) * 2 if cheap else ("CoC", "corrected")
    assert (event.layer, event.scheme, event.action, event.corrected) == (name, *expected, True)
    assert event.kind == ("deviation" if math.isfinite(value) else "non-finite")
    assert event.deviation > event.threshold > 0
    protected.clear_events()
    assert protected.events == []


@pytest.mark.parametrize("value", [1e3, 1e38, math.inf, math.nan, 0.6], ids=str)
@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_a_damaged_weight_is_reloaded(net: Net, x: Tensor, parameter: str, value: float) -> None:
    protected = protect(net, plan=None)
    clean = net(x)
    pristine = getattr(net.twice, parameter).detach().clone()
    with torch.no_grad():
        getattr(net.twice, parameter).view(-1)[5] = value  # the tensors are shared
    assert torch.equal(protected(x), clean)
    assert torch.equal(getattr(net.twice, parameter), pristine)
    (event,) = protected.events
    assert (event.layer, event.action, event.corrected) == ("twice", "recomputed", True)
    assert event.rungs[-2:] == ("weights reloaded", "recomputed")
    assert torch.equal(protected(x), clean)
    assert len(protected.events) == 1


def test_a_damaged_weight_without_a_copy_ends_in_an_error(net: Net, x: Tensor) -> None:
    """It stays, however often the layer is computed again: bounded tries, no loop, no wrong answer."""
    protected = protect(net, plan=None, pristine=None)
    with torch.no_grad():
        net.twice.weight[3, 4] = 1e3
    with pytest.raises(FaultError, match=r"'twice'.*weight is damaged") as info:
        protected(x)
    assert info.value.exit_code == 8
    assert [(e.action, e.corrected) for e in protected.events] == [("raised", False)]
    assert protected.events[0].rungs.count("recomputed") == 2
    protected.refresh()
    assert torch.equal(protected(x), net(x))


def test_location_is_the_position_of_the_damage(net: Net, x: Tensor) -> None:
    protected = protect(net, on_fault="record")

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[1, 2, 4, 7] += 1000
        return output

    layer_named(protected, "stem").register_forward_hook(hook)
    protected(x)
    assert protected.events[0].location == (4, 7)


def test_on_fault(net: Net, x: Tensor) -> None:
    recording = protect(net, on_fault="record")
    layer_named(recording, "head").register_forward_hook(spoil(math.nan))
    assert recording(x).isnan().sum() == 1
    assert [(e.action, e.corrected) for e in recording.events] == [("recorded", False)]

    raising = protect(net, on_fault="raise")
    layer_named(raising, "head").register_forward_hook(spoil(1e9))
    with pytest.raises(FaultError, match="'head'"):
        raising(x)
    assert torch.equal(raising(x), net(x))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_input_that_is_not_finite(net: Net, x: Tensor, value: float) -> None:
    protected = protect(net)
    x[0, 0, 0, 0] = value
    with pytest.raises(FaultError, match="non-finite input"):
        protected(x)
    recording = protect(net, on_fault="record")
    assert torch.equal(recording(x), net(x)) or net(x).isnan().any()
    assert recording.events[0].kind == "non-finite input"


def test_an_event_of_a_run_that_was_repeated_is_told_once() -> None:
    """The first layer fails whenever it runs; what the second one reads is hit once, beyond restoring."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    protected, struck = protect(model, plan=None, fuse=False), list[int]()

    def hit(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not struck:
            args[0].detach()[:, 1, 3:6] += 7.0
        struck.append(1)

    layer_named(protected, "0").register_forward_hook(spoil(1e6, once=False))
    layer_named(protected, "2").register_forward_pre_hook(hit)
    x = torch.rand(3, 2, 9, 9)
    with torch.inference_mode():
        torch.testing.assert_close(protected(x), model(x), rtol=1e-5, atol=1e-6)
    assert len(struck) == 2
    assert sorted((event.layer, event.corrected) for event in protected.events) == [("0", True), ("2", True)]
    assert [event.action for event in protected.events if event.layer == "2"] == ["rerun"]


def test_training_mode_is_refused(net: Net, x: Tensor) -> None:
    protected = protect(net).train()
    with pytest.raises(UsageError, match=r"call \.eval\(\)"):
        protected(x)
    protected.eval()(x)


def test_inference_mode(net: Net, x: Tensor) -> None:
    with torch.inference_mode():
        assert torch.equal(protect(net)(x), net(x))


def test_two_threads_share_one_model(net: Net) -> None:
    protected = protect(net)
    inputs = [torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    clean = [net(x) for x in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        with torch.inference_mode():
            for _ in range(60):
                if not torch.equal(protected(inputs[number]), clean[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, protected.events) == ([], [])


BAD = {
    "threshold": ({"threshold": "tight"}, "threshold: expected analytic or calibrated"),
    "example": ({"threshold": "calibrated"}, "threshold: expected example=, a batch"),
    "on_fault": ({"on_fault": "ignore"}, "on_fault: expected one of correct, record, raise"),
}


@pytest.mark.parametrize("name", BAD)
def test_unknown_options(net: Net, name: str) -> None:
    options, message = BAD[name]
    with pytest.raises(UsageError, match=message):
        protect(net, **options)


def test_what_cannot_be_protected(net: Net) -> None:
    with pytest.raises(UsageError, match="got function"):
        protect(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="protected already"):
        protect(protect(net))
