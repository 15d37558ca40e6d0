"""Every function of torch that multiplies: checked as what it is and corrected, or told to be unchecked."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from functional_support import Products, X, attached, outputs
from torch import Tensor, nn
from torch.nn import functional

from holdfast.abft import batched
from holdfast.abft.functional import ProtectedFunctions

LINEAR = functional.linear
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
