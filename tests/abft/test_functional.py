"""Products that modules compute themselves: found at the first call, checked once, under their own names."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from functional_support import Products, X, attached, outputs
from torch import Tensor, nn
from torch.nn import functional

from holdfast import models, protect
from holdfast.abft import batched
from holdfast.abft.functional import ProtectedFunctions, attach, recording
from holdfast.core.errors import FaultError
from holdfast.core.protocols import fault_site

LINEAR = functional.linear


def test_an_unchecked_product_beside_a_checked_one_runs() -> None:
    model, x = Products(lambda m, x: torch.einsum("bij,bkl->b", x @ x.mT, x @ x.mT)), torch.randn(X)
    found, guard = attached(model, x, on_fault="raise")
    seen: list[str] = []
    guard.watch = lambda layer, *_: seen.append(layer)
    torch.testing.assert_close(outputs(found.model, x), outputs(model, x))
    assert seen == ["matmul", "matmul.2"]
    assert [module for module, _ in found.unprotected] == [""]


def test_a_model_without_products_of_its_own_pays_nothing() -> None:
    model = protect(models.create("cnn", in_channels=2, classes=2, size=8), fuse=False, plan=None).fault_site
    found, _ = attached(model, torch.rand(1, 2, 8, 8))
    assert (found.model, found.found, found.unprotected) == (model, (), ())
    assert not any(isinstance(module, ProtectedFunctions) for module in model.modules())


@pytest.fixture
def vit() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.create("vit", in_channels=2, classes=3, size=16, dim=16, depth=2).eval()


def test_attention_of_the_vit_is_found_and_its_layers_are_not_checked_twice(vit: nn.Module) -> None:
    x = torch.rand(2, 2, 16, 16)
    protected = protect(vit, fuse=False, plan=None, on_fault="raise")
    with torch.no_grad():
        found = attach(protected.fault_site, protected.guard, protected.keeper, (x,))
    assert found.found == tuple((f"blocks.{i}.attn", "scaled_dot_product_attention") for i in range(2))
    seen: list[str] = []
    protected.guard.watch = lambda layer, *_: seen.append(layer)
    torch.testing.assert_close(outputs(found.model, x), outputs(vit, x))
    assert len(seen) == len(set(seen)) == 1 + 2 * (6 + 3) + 1
    assert {f"blocks.1.attn:scaled_dot_product_attention.{step}" for step in ("qk", "softmax", "av")} < set(
        seen
    )
    names = [name for name, layer in vit.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert set(names) < set(seen)
    assert list(found.model.state_dict()) == list(vit.state_dict())


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_faults_in_the_products_of_the_vit_are_corrected(
    vit: nn.Module, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, calls = torch.rand(2, 2, 16, 16), []
    found, guard = attached(vit, x)
    clean = outputs(found.model, x)
    compute = batched.compute

    def damaged(*args: Any) -> Tensor:
        out = compute(*args)
        calls.append(1)
        if len(calls) == step:
            out[3, 4] = 1e9
        return out

    monkeypatch.setattr(batched, "compute", damaged)
    torch.testing.assert_close(outputs(found.model, x), clean)
    (event,) = guard.events
    part = "qk" if step % 2 else "av"
    assert event.layer == f"blocks.{(step - 1) // 2}.attn:scaled_dot_product_attention.{part}"


def test_changed_weights_are_taken_after_refresh() -> None:
    model, x = Products(lambda m, x: LINEAR(x, m.weight)), torch.randn(X)
    found, guard = attached(model, x, on_fault="raise")
    outputs(found.model, x)
    with torch.no_grad():
        model.weight.mul_(2)
    with pytest.raises(FaultError):
        outputs(found.model, x)
    assert isinstance(found.model, ProtectedFunctions)
    found.model.refresh()
    guard.events.clear()
    torch.testing.assert_close(outputs(found.model, x), outputs(model, x))
    assert guard.events == []


def function_of_copies(m: Products, x: Tensor) -> Tensor:
    """At the top of the module, so that it can be pickled."""
    return LINEAR(x, m.weight) @ m.stack[:, :6]


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_and_other_dtypes_work(clone: Callable[[nn.Module], nn.Module]) -> None:
    model, x = Products(function_of_copies), torch.randn(X)
    found, _ = attached(model, x, on_fault="raise")
    plain = outputs(found.model, x)
    twin = clone(found.model)
    assert torch.equal(outputs(twin, x), plain)
    twin.double()
    torch.testing.assert_close(outputs(twin, x.double()), plain.double(), rtol=1e-4, atol=1e-5)
    assert torch.equal(outputs(found.model, x), plain)


def test_threads_share_one_model(vit: nn.Module) -> None:
    inputs = [torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    found, guard = attached(vit, inputs[0], on_fault="raise")
    clean = [outputs(found.model, x) for x in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            if not torch.equal(outputs(found.model, inputs[number]), clean[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, guard.events) == ([], [])


def test_recording_hears_only_its_own_thread(vit: nn.Module) -> None:
    x = torch.rand(2, 2, 16, 16)
    with recording(vit) as alone:
        outputs(vit, x)
    with recording(vit) as beside:
        thread = threading.Thread(target=lambda: [outputs(vit, x) for _ in range(5)])
        thread.start()
        for _ in range(5):
            outputs(vit, x)
        thread.join()
    assert beside == alone
    assert sum(functional.scaled_dot_product_attention in functions for functions in alone.values()) == 2


def test_an_event_of_the_first_call_is_told_once_although_the_model_runs_twice(vit: nn.Module) -> None:
    def spoil(module: nn.Module, args: Any, out: Tensor) -> None:
        if len(calls) < most:
            out[0, 0, 1, 1] = 1e9
        calls.append(1)

    for most in (1, 2, 3):
        protected, calls = protect(vit, plan=None), list[int]()
        protected.fault_site.embed.fault_site.register_forward_hook(spoil)
        outputs(protected, torch.rand(2, 2, 16, 16))
        assert [event.layer for event in protected.events] == ["embed"]
        outputs(protected, torch.rand(2, 2, 16, 16))
        assert len(protected.events) == (2 if most > 2 else 1)


class Nested(nn.Module):
    """Multiplies itself, and calls modules in a list that multiply themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [Products(lambda m, x: x @ m.stack), Products(lambda m, x: x @ m.weight[:5].T)]
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = (part(x) for part in self.parts)
        return first @ second.mT


def test_modules_inside_modules_are_checked_once_each_under_their_own_names() -> None:
    model, x = Nested(), torch.randn(X)
    plain = outputs(model, x)
    found, guard = attached(model, x, on_fault="raise")
    seen: list[str] = []
    guard.watch = lambda layer, *_: seen.append(layer)
    torch.testing.assert_close(outputs(found.model, x), plain)
    assert seen == ["parts.0:matmul", "parts.1:matmul(weight)", "matmul"]
    assert fault_site(found.model) is model
    assert list(found.model.state_dict()) == list(Nested().state_dict())


def test_the_mode_is_gone_after_an_error() -> None:
    def function(m: Products, x: Tensor) -> Tensor:
        if x.numel() > 120:
            raise ValueError("too large")
        return x @ x.mT

    model, x = Products(function), torch.randn(X)
    found, _ = attached(model, x)
    with pytest.raises(ValueError, match="too large"):
        outputs(found.model, torch.randn(4, 5, 8))
    assert torch._C._len_torch_function_stack() == 0
