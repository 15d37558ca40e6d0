"""Products that modules compute themselves are found, checked once, and corrected."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from holdfast import models, protect
from holdfast.abft import batched
from holdfast.abft.events import Guard
from holdfast.abft.functional import Attached, ProtectedFunctions, attach, recording
from holdfast.abft.weights import Keeper
from holdfast.core.errors import FaultError
from holdfast.core.protocols import fault_site

LINEAR = functional.linear


class Products(nn.Module):
    """Whatever ``function`` does with the input and the parameters."""

    def __init__(
        self, function: Callable[[Products, Tensor], Tensor], dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator).to(dtype))

        self.function = function
        self.weight, self.bias, self.stack = parameter(6, 8), parameter(6), parameter(3, 8, 5)
        self.kernel, self.filter = parameter(4, 5, 3), parameter(5, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


X = (3, 5, 8)
FUNCTIONS: dict[str, tuple[str, Callable[[Products, Tensor], Tensor]]] = {
    "linear": ("linear(weight)", lambda m, x: LINEAR(x, m.weight, m.bias)),
    "linear without bias": ("linear(weight)", lambda m, x: LINEAR(x, m.weight)),
    "linear, computed weight": ("linear", lambda m, x: LINEAR(x, m.weight.abs(), m.bias)),
    "linear, computed bias": ("linear(weight)", lambda m, x: LINEAR(x, m.weight, m.bias + 1)),
    "linear, part of a weight": ("linear(weight)", lambda m, x: LINEAR(x, m.weight[2:5])),
    "linear by name": ("linear(weight)", lambda m, x: LINEAR(input=x, weight=m.weight, bias=m.bias)),
    "@": ("matmul", lambda m, x: x @ x.mT),
    "@ a weight": ("matmul(weight)", lambda m, x: x @ m.weight.T),
    "@ a stack": ("matmul", lambda m, x: x @ m.stack),
    "@ a vector": ("matmul", lambda m, x: x @ x[0, 0]),
    "vector @": ("matmul", lambda m, x: x[0, 0] @ m.stack),
    "matmul": ("matmul", lambda m, x: torch.matmul(x, other=m.stack)),
    "matmul, broadcast": ("matmul", lambda m, x: torch.matmul(x[:, None], m.stack)),
    "mm": ("mm(weight)", lambda m, x: torch.mm(x[0], m.weight.T)),
    "mm of two inputs": ("mm", lambda m, x: x[0].mm(x[1].T)),
    "bmm": ("bmm", lambda m, x: torch.bmm(x, mat2=m.stack)),
    "method bmm": ("bmm", lambda m, x: x.bmm(x.transpose(1, 2))),
    "mv": ("mv(weight)", lambda m, x: torch.mv(x[0], m.weight[0])),
    "addmm": ("addmm(weight)", lambda m, x: torch.addmm(m.bias, x[0], m.weight.T, beta=0.5, alpha=2.0)),
    "baddbmm": ("baddbmm", lambda m, x: torch.baddbmm(x[:, :, :5], x, m.stack, alpha=0.3)),
    "baddbmm into nothing": (
        "baddbmm",
        lambda m, x: torch.baddbmm(x.new_full((1,), math.nan), x, m.stack, beta=0),
    ),
    "einsum": ("einsum", lambda m, x: torch.einsum("bik,bkj->bij", x, m.stack)),
    "einsum, heads": (
        "einsum",
        lambda m, x: torch.einsum("bqhd,bkhd->bhqk", x.view(3, 5, 2, 4), x.view(3, 5, 2, 4)),
    ),
    "einsum, dots": ("einsum", lambda m, x: torch.einsum("...qd,...kd->...qk", x, x)),
    "einsum, two summed": ("einsum", lambda m, x: torch.einsum("abc,abd->cd", x, m.stack.mT[..., :3])),
    "einsum, traces": ("einsum", lambda m, x: torch.einsum("bij,bij->b", x, x)),
    "einsum, transposed": ("einsum", lambda m, x: torch.einsum("ik,kj->ji", x[0], m.weight.T)),
    "attention": (
        "scaled_dot_product_attention.qk",
        lambda m, x: functional.scaled_dot_product_attention(x, x, x),
    ),
    "conv1d": ("conv1d(kernel)", lambda m, x: functional.conv1d(x, m.kernel, m.bias[:4], padding=1)),
    "conv1d, same": (
        "conv1d(kernel)",
        lambda m, x: functional.conv1d(x, m.kernel, padding="same", dilation=2),
    ),
    "conv1d, computed": ("conv1d", lambda m, x: functional.conv1d(x, m.kernel * 2, m.bias[:4] * 2, stride=2)),
    "conv2d": (
        "conv2d(kernel)",
        lambda m, x: functional.conv2d(x.mT[None], m.kernel.mT[:, :3, None], padding=(0, 1), stride=(1, 2)),
    ),
    "conv_transpose1d": (
        "conv_transpose1d(filter)",
        lambda m, x: functional.conv_transpose1d(x, m.filter, stride=2, padding=1, output_padding=1),
    ),
}


def attached(model: nn.Module, *args: Tensor, on_fault: Any = "correct") -> tuple[Attached, Guard]:
    guard = Guard(on_fault)
    with torch.no_grad():
        return attach(model, guard, Keeper(model), args), guard


@pytest.fixture
def break_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage the first product after this that is computed inside a check."""
    broken: list[int] = []

    def spoil(out: Tensor) -> Tensor:
        if not broken:
            broken.append(1)
            out[(0,) * out.dim()] = 1e6
        return out

    compute = batched.compute
    monkeypatch.setattr(batched, "compute", lambda *args: spoil(compute(*args)))
    monkeypatch.setattr(functional, "linear", lambda *args: spoil(LINEAR(*args)))
    for kind in (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d):
        forward = kind.forward
        monkeypatch.setattr(kind, "forward", lambda *args, forward=forward: spoil(forward(*args)))


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(x)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_checked_and_right(name: str, dtype: torch.dtype) -> None:
    label, function = FUNCTIONS[name]
    model, x = Products(function, dtype), torch.randn(X, generator=torch.Generator().manual_seed(2)).to(dtype)
    plain = outputs(model, x)
    found, guard = attached(model, x, on_fault="raise")
    assert isinstance(found.model, ProtectedFunctions)
    assert found.unprotected == ()
    seen: list[str] = []
    guard.watch = lambda layer, *_: seen.append(layer)
    tolerance = 0.05 if dtype is torch.bfloat16 else None
    torch.testing.assert_close(outputs(found.model, x), plain, rtol=tolerance, atol=tolerance)
    assert seen[0] == label


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_corrected(name: str, break_products: None) -> None:
    label, function = FUNCTIONS[name]
    model, x = Products(function), torch.randn(X, generator=torch.Generator().manual_seed(2))
    found, guard = attached(model, x)
    damaged, clean = outputs(found.model, x), outputs(found.model, x)
    torch.testing.assert_close(damaged, clean, rtol=1e-4, atol=1e-4)
    assert [(event.layer, event.corrected) for event in guard.events] == [(label, True)]


UNCHECKED: dict[str, tuple[str, Callable[[Products, Tensor], Tensor]]] = {
    "integers": ("matmul: torch.int64 is not covered", lambda m, x: x.long() @ x.long().mT),
    "out": ("matmul: it writes into", lambda m, x: torch.matmul(x, m.stack, out=torch.empty(3, 5, 5))),
    "sparse": ("mm: an operand is sparse", lambda m, x: torch.mm(x[0].to_sparse(), m.weight.T)),
    "elementwise": ("einsum: this einsum is no batch", lambda m, x: torch.einsum("bij->bji", x)),
    "three operands": ("einsum: this einsum is no", lambda m, x: torch.einsum("bij,bij,bij->bij", x, x, x)),
    "summed alone": ("einsum: this einsum is no", lambda m, x: torch.einsum("bij,bkl->bik", x, m.stack)),
    "diagonal": ("einsum: this einsum is no", lambda m, x: torch.einsum("bii,bij->bj", x[:, :, :5], x)),
    "tensordot": ("tensordot: it is not covered", lambda m, x: torch.tensordot(x, m.weight, ([2], [1]))),
}


@pytest.mark.parametrize("name", UNCHECKED)
def test_what_is_not_checked_is_told_and_runs(name: str) -> None:
    says, function = UNCHECKED[name]
    model, x = Products(function), torch.randn(X)
    found, _ = attached(model, x)
    assert found.model is model
    ((module, reason),) = found.unprotected
    assert (module, reason[: len(says)]) == ("", says)


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


HEADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "batch first": ({"batch_first": True}, {}),
    "sequence first": ({}, {}),
    "without weights": ({"batch_first": True}, {"need_weights": False}),
    "weights of each head": ({"batch_first": True}, {"average_attn_weights": False}),
    "no bias": ({"batch_first": True, "bias": False}, {"need_weights": False}),
    "added keys": ({"batch_first": True, "add_bias_kv": True, "add_zero_attn": True}, {}),
    "mask": ({"batch_first": True}, {"attn_mask": torch.ones(5, 5).triu(1).bool()}),
    "mask without weights": (
        {"batch_first": True},
        {"attn_mask": torch.ones(5, 5).triu(1).bool(), "need_weights": False},
    ),
    "other widths": ({"batch_first": True, "kdim": 6, "vdim": 4}, {}),
}


@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "inference"])
@pytest.mark.parametrize("name", HEADS)
def test_multihead_attention(name: str, gradients: bool) -> None:
    made, called = HEADS[name]
    layer = nn.MultiheadAttention(8, 2, **made).eval()
    q = torch.randn(2, 5, 8)
    k, v = (torch.randn(2, 5, made.get(each, 8)) for each in ("kdim", "vdim"))
    guard = Guard("raise")
    with torch.no_grad():
        found = attach(layer, guard, Keeper(layer), (q, k, v), called)
    assert found.found == (("", "multi_head_attention_forward"),)
    seen: list[str] = []
    guard.watch = lambda each, *_: seen.append(each.partition("(")[0])
    with torch.inference_mode(not gradients):
        plain, weights = layer(q, k, v, **called)
        out, its_weights = found.model(q, k, v, **called)
    torch.testing.assert_close(out, plain, rtol=1e-4, atol=1e-5)
    if weights is not None:
        torch.testing.assert_close(its_weights, weights, rtol=1e-4, atol=1e-5)
    assert sum(each.startswith("linear") for each in seen) >= 2
    products = (
        {"scaled_dot_product_attention.qk"} if called.get("need_weights") is False else {"bmm", "baddbmm"}
    )
    assert products & set(seen)


def test_a_damaged_projection_of_multihead_attention_is_reloaded() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    guard, keeper = Guard("correct"), Keeper(layer)
    with torch.no_grad():
        model = attach(layer, guard, keeper, (x, x, x)).model
        clean = model(x, x, x)[0]
        pristine = layer.in_proj_weight.clone()
        layer.in_proj_weight[3, 4] += 5.0
        torch.testing.assert_close(model(x, x, x)[0], clean)
    assert torch.equal(layer.in_proj_weight, pristine)
    (event,) = guard.events
    assert event.layer == "linear(in_proj_weight)"
    assert "weights reloaded" in event.rungs


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
