"""Every rung, every branch of FC and every repair fires, by itself and in a protected model; counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from abft_support import WITHOUT_RECOMPUTE, guarded, inner, run, strike_once
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft import Protected, schemes
from holdfast.abft.schemes import LOCATED, Finding, off


@pytest.fixture
def branches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often FC corrected a position, by the branch that did."""
    counted: Counter[str] = Counter()
    original = schemes.full

    def spy(blocks: Tensor, co1: Tensor, co2: Tensor, *rest: Any) -> Finding:
        found = original(blocks, co1, co2, *rest)
        tau = rest[-1]
        rows = off(co2 - blocks.sum(1), tau.t2).any(0)
        columns = off(co1 - blocks.sum(0), tau.t1).any(0)
        several = found.changed.any(0).sum(0) > 1  # more than one channel
        located = found.state == LOCATED
        counted["one row"] += int((located & rows & columns & several).sum())
        counted["one column"] += int((located & rows & columns & ~several).sum())
        counted["row by Co5 and Co7"] += int((located & ~rows & columns).sum())
        counted["column by Co5 and Co6"] += int((located & rows & ~columns).sum())
        return found

    monkeypatch.setattr(schemes, "full", spy)
    return counted


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(4, 24, 3, padding=1).eval()


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(12, 4, 30, 30, generator=torch.Generator().manual_seed(1))


def only(model: nn.Module, *rungs: str) -> Protected:
    """``model``, with these rungs allowed."""
    protected = guarded(model)
    protected.guard.rungs = rungs
    return protected


def row(out: Tensor) -> None:
    out[3, :, 5, 7] += torch.linspace(1, 5, out.shape[1])


def column(out: Tensor) -> None:
    out[:, 3, 5, 7] += torch.linspace(1, 5, out.shape[0])


def block(out: Tensor) -> None:
    out[2, 5, 4, 3:9] += 4.0


DAMAGES: dict[str, tuple[Callable[[Tensor], None], tuple[str, ...], str]] = {
    "CoC": (block, WITHOUT_RECOMPUTE, "CoC"),
    "RC": (row, WITHOUT_RECOMPUTE, "RC"),
    "ClC": (column, WITHOUT_RECOMPUTE, "ClC"),
    "FC, one row": (row, ("CoC", "FC"), "FC"),
    "FC, one column": (column, ("CoC", "FC"), "FC"),
    "recomputed": (row, ("recompute",), "recomputed"),
}


@pytest.mark.usefixtures("free_rungs")
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_outputs(
    model: nn.Module, batch: Tensor, branches: Counter[str], name: str, recompute: bool
) -> None:
    """The same rung with the last one allowed as well: it is not needed, where the layer is large enough."""
    damage, rungs, scheme = DAMAGES[name]
    protected = only(model, *rungs, *(("recompute",) if recompute else ()))
    with torch.no_grad():
        clean = model(batch)
    strike_once(inner(protected), damage)
    out = run(protected, batch)
    assert out is not None
    torch.testing.assert_close(out, clean)
    (event,) = protected.events
    assert (event.scheme, event.corrected) == (scheme, True)
    if name.startswith("FC, "):
        assert branches[name.removeprefix("FC, ")] == 1
    else:
        assert branches.total() == 0


def test_row_by_co5_and_co7_when_co2_is_hit(model: nn.Module, batch: Tensor, branches: Counter[str]) -> None:
    """Two faults: the row of O, and Co2 so that it agrees with the damaged row. Reached by a tap.

    A fault in D taints Co2 in the same way, but in the live ladder D is compared with Cd1 and restored first.
    """
    protected = only(model, "CoC", "FC")
    with torch.no_grad():
        clean = model(batch)
    strike_once(inner(protected), row)

    def tap(name: str, site: str, values: Tensor) -> None:
        if site == "co2":
            values[3] += torch.linspace(1, 5, 24).sum()

    protected.guard.tap = tap
    out = run(protected, batch)
    assert out is not None
    torch.testing.assert_close(out, clean)
    assert branches["row by Co5 and Co7"] == 1
    assert protected.events[0].scheme == "FC"


def damage_weight(model: nn.Module, value: float) -> None:
    """One number of a kernel, as a fault does it: torch is not told."""
    memory = model.weight.detach().view(-1)[100:101].view(torch.uint8).numpy()
    memory[:] = torch.tensor([value]).view(torch.uint8).numpy()


def test_column_by_co5_and_co6_when_a_weight_is_hit(
    model: nn.Module, batch: Tensor, branches: Counter[str]
) -> None:
    """Co1 is computed from the same damaged W; the weight is reloaded afterwards."""
    protected = only(model, *WITHOUT_RECOMPUTE)
    pristine = model.weight.detach().clone()
    with torch.no_grad():
        clean = model(batch)
    damage_weight(model, 50.0)
    out = run(protected, batch)
    assert out is not None
    torch.testing.assert_close(out, clean, rtol=1e-4, atol=1e-4)
    assert branches["column by Co5 and Co6"] > 500
    (event,) = protected.events
    assert event.scheme == "FC"
    assert event.rungs[-1] == "weights reloaded"
    assert torch.equal(model.weight, pristine)


@pytest.mark.parametrize(
    ("site", "done"),
    [("cd1", "checksums discarded"), ("co5", "checksums discarded"), ("cw1", "checksums renewed")],
)
@pytest.mark.parametrize("rungs", [WITHOUT_RECOMPUTE, (*WITHOUT_RECOMPUTE, "recompute"), ("recompute",)])
def test_damaged_checksums(
    model: nn.Module, batch: Tensor, site: str, done: str, rungs: tuple[str, ...]
) -> None:
    protected = only(model, *rungs)
    with torch.no_grad():
        clean = model(batch)
    struck: list[int] = []

    def tap(name: str, at: str, values: Tensor) -> None:
        if at == site and not struck:
            struck.append(1)
            values.view(-1)[7] += 20.0

    protected.guard.tap = tap
    assert torch.equal(run(protected, batch), clean)
    (event,) = protected.events
    assert (event.scheme, event.action, event.corrected) == (done, "corrected", True)
    assert torch.equal(run(protected, batch), clean)
    assert len(protected.events) == 1


@pytest.mark.parametrize("rungs", [WITHOUT_RECOMPUTE, (*WITHOUT_RECOMPUTE, "recompute")])
def test_a_damaged_input_is_restored(model: nn.Module, batch: Tensor, rungs: tuple[str, ...]) -> None:
    protected = only(model, *rungs)
    with torch.no_grad():
        clean = model(batch)
    pristine, calls = batch.clone(), []

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not calls:
            args[0].detach()[4, 1, 10, 10] = 1e5
        calls.append(1)

    inner(protected).register_forward_pre_hook(hook)
    out = run(protected, batch)
    assert out is not None
    torch.testing.assert_close(out, clean)
    assert torch.equal(batch, pristine)
    (event,) = protected.events
    assert event.rungs[0] == "input restored"
    assert event.scheme == ("input restored" if "recompute" in rungs else "RC")


def test_weights_are_reloaded_and_the_layer_computed_again(model: nn.Module, batch: Tensor) -> None:
    protected = guarded(model)
    with torch.no_grad():
        clean = model(batch)
    damage_weight(model, 50.0)
    assert torch.equal(run(protected, batch), clean)
    (event,) = protected.events
    assert (event.scheme, event.rungs[-2:]) == ("recomputed", ("weights reloaded", "recomputed"))


def test_the_model_is_run_again(batch: Tensor) -> None:
    """Several elements of a feature map: only what made it can bring it back."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3)).eval()
    protected = protect(model, plan=None, fuse=False)
    with torch.no_grad():
        clean = model(batch)
    struck: list[int] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not struck:
            args[0].detach()[2:5, 1, 3:6] += 7.0
        struck.append(1)

    protected.layers()[1].fault_site.register_forward_pre_hook(hook)
    assert torch.equal(run(protected, batch), clean)
    (event,) = protected.events
    assert (event.layer, event.scheme, event.action) == ("2", "model run again", "rerun")
    assert len(struck) == 2


def test_two_equal_errors_of_a_row_do_not_pass_for_one(model: nn.Module, batch: Tensor) -> None:
    """CoC sees one error between them, Co1 does not confirm it, RC corrects both."""
    protected = only(model, *WITHOUT_RECOMPUTE)
    with torch.no_grad():
        clean = model(batch)

    def damage(out: Tensor) -> None:
        out[3, 1, 5, 7] += 4.0
        out[3, 5, 5, 7] += 4.0

    strike_once(inner(protected), damage)
    out = run(protected, batch)
    assert out is not None
    torch.testing.assert_close(out, clean)
    assert protected.events[0].rungs == ("CoC", "RC")


@pytest.mark.parametrize("fuse", [False, True])
def test_threads_share_one_model_while_faults_strike(fuse: bool) -> None:
    """Every thread gets its own right answer; every fault its own event."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()).eval()
    inputs = [torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(n)) for n in (1, 2, 3, 4)]
    with torch.no_grad():
        clean = [model(x) for x in inputs]
    protected = protect(model, fuse=fuse)
    lock, strikes, wrong = threading.Lock(), [0, 0], []

    def hook(module: nn.Module, args: Any, out: Tensor) -> None:
        with lock:
            strikes[0] += 1
            hit = strikes[0] % 7 == 0
            strikes[1] += hit
        if hit:
            out.detach()[0, 2, 4, 4] = 1e6

    if not fuse:
        protected.layers()[1].fault_site.register_forward_hook(hook)

    def work(number: int) -> None:
        with torch.inference_mode():
            for _ in range(25):
                out = protected(inputs[number])
                if not torch.allclose(out, clean[number], rtol=1e-4, atol=1e-5):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [event.corrected for event in protected.events] == [True] * strikes[1]
