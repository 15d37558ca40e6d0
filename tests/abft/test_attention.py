"""Protected attention is torch's, within the stated bound, and each of its three steps is checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from holdfast.abft import attention, batched
from holdfast.abft.attention import attend, rows_tolerance
from holdfast.abft.events import Guard
from holdfast.core.errors import FaultError

DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def bound(q: Tensor, k: Tensor, v: Tensor, scale: float) -> float:
    """The stated difference from torch's fused kernel."""
    u = torch.finfo(q.dtype).eps / 2
    longest = [float(x.double().norm(dim=-1).max()) for x in (q, k)]
    s = (q.shape[-1] + 2) * u * scale * longest[0] * longest[1]
    return 2 * (2 * s + (2 * k.shape[-2] + 8) * u) * float(v.double().abs().max())


def half_masked(length: int, keys: int) -> Tensor:
    return (torch.arange(length)[:, None] + torch.arange(keys)) % 2 == 0


CASES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "plain": (((2, 4, 65, 16), (2, 4, 65, 16), (2, 4, 65, 16)), {}),
    "other lengths": (((2, 4, 5, 16), (2, 4, 7, 16), (2, 4, 7, 3)), {}),
    "no batch": (((5, 16), (7, 16), (7, 3)), {}),
    "three dimensions": (((3, 5, 16), (3, 7, 16), (3, 7, 16)), {}),
    "one query": (((2, 4, 1, 8), (2, 4, 9, 8), (2, 4, 9, 8)), {}),
    "one key": (((2, 4, 6, 8), (2, 4, 1, 8), (2, 4, 1, 8)), {}),
    "broadcast": (((2, 1, 5, 16), (1, 4, 7, 16), (1, 4, 7, 16)), {}),
    "scale": (((2, 4, 5, 16), (2, 4, 7, 16), (2, 4, 7, 16)), {"scale": 0.7}),
    "causal": (((2, 4, 9, 16), (2, 4, 9, 16), (2, 4, 9, 16)), {"is_causal": True}),
    "causal, longer keys": (((2, 4, 5, 16), (2, 4, 7, 16), (2, 4, 7, 16)), {"is_causal": True}),
    "grouped queries": (((2, 8, 5, 16), (2, 2, 7, 16), (2, 2, 7, 16)), {"enable_gqa": True}),
    "mask": (((2, 4, 5, 16), (2, 4, 7, 16), (2, 4, 7, 16)), {"attn_mask": half_masked(5, 7)}),
    "mask a head": (
        ((2, 4, 5, 16), (2, 4, 7, 16), (2, 4, 7, 16)),
        {"attn_mask": half_masked(5, 7).expand(2, 1, 5, 7)},
    ),
    "added mask": (
        ((2, 4, 5, 16), (2, 4, 7, 16), (2, 4, 7, 16)),
        {"attn_mask": torch.zeros(5, 7).masked_fill(~half_masked(5, 7), -math.inf)},
    ),
    "rows without keys": (
        ((2, 4, 5, 16), (2, 4, 7, 16), (2, 4, 7, 16)),
        {"attn_mask": half_masked(5, 7) & (torch.arange(5) != 2)[:, None]},
    ),
    "nothing": (((0, 4, 5, 16), (0, 4, 7, 16), (0, 4, 7, 16)), {}),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_it_is_torchs(name: str, dtype: torch.dtype) -> None:
    shapes, options = CASES[name]
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    if "attn_mask" in options and options["attn_mask"].dtype is not torch.bool:
        options = {"attn_mask": options["attn_mask"].to(dtype)}
    guard = Guard("raise")
    with torch.inference_mode():
        found = attend(q, k, v, **options, name="x", guard=guard)
        plain = functional.scaled_dot_product_attention(q, k, v, **options)
    assert found.shape == plain.shape
    assert found.dtype is plain.dtype
    if found.numel():
        scale = options.get("scale", 1 / math.sqrt(q.shape[-1]))
        assert float((found.double() - plain.double()).abs().max()) <= bound(q, k, v, scale)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 3),
    heads=st.integers(1, 3),
    length=st.sampled_from([1, 4, 33, 65]),
    keys=st.sampled_from([1, 4, 33, 200]),
    depth=st.sampled_from([1, 3, 16, 64]),
    sharpness=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    same=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
def test_no_false_alarm(
    n: int,
    heads: int,
    length: int,
    keys: int,
    depth: int,
    sharpness: float,
    same: bool,
    dtype: Any,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(n, rows, heads * depth, generator=generator).to(dtype).unflatten(-1, (heads, -1))
        for rows in (length, keys, keys)
    )
    k = q if same and length == keys else k
    ratios = []
    guard = Guard("raise", watch=lambda _, deviation, tau: ratios.append(deviation / tau))
    with torch.inference_mode():
        out = attend(*(x.transpose(1, 2) for x in (sharpness * q, k, v)), name="x", guard=guard)
    assert torch.isfinite(out).all()
    assert len(ratios) == 3
    assert max(ratios) <= 1.0


STEPS: dict[str, tuple[int, Callable[[Tensor], Any]]] = {
    "qk": (1, lambda out: out[2, 3, 4].add_(3.0)),
    "qk, NaN": (1, lambda out: out[2, 3, 4].fill_(math.nan)),
    "av": (2, lambda out: out[2, 3, 4].add_(0.5)),
    "av, row": (2, lambda out: out[2, 3].mul_(-50.0)),
}


@pytest.mark.parametrize("name", STEPS)
def test_both_products_are_corrected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which, damage = STEPS[name]
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 20, 8, generator=generator) for _ in range(3))
    clean = attend(q, k, v, name="x", guard=Guard("raise"))
    calls: list[int] = []
    compute = batched.compute

    def damaged(*args: Any) -> Tensor:
        out = compute(*args)
        calls.append(1)
        if len(calls) == which:
            damage(out)
        return out

    monkeypatch.setattr(batched, "compute", damaged)
    guard = Guard("correct")
    torch.testing.assert_close(attend(q, k, v, name="x", guard=guard), clean)
    (event,) = guard.events
    assert (event.layer, event.location, event.corrected) == (f"x.{name[:2]}", (0, 2), True)


@pytest.mark.parametrize("value", [0.5, 1e30, math.nan, math.inf], ids=str)
@pytest.mark.parametrize("times", [1, 99])
def test_softmax_is_computed_again(value: float, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (torch.randn(2, 3, 20, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    clean = attend(q, k, v, name="x", guard=Guard("raise"))
    calls: list[int] = []
    weights = attention._weights

    def damaged(scores: Tensor, masked: bool) -> Tensor:
        out = weights(scores, masked)
        calls.append(1)
        if len(calls) <= times:
            out[1, 2, 3] += value
        return out

    monkeypatch.setattr(attention, "_weights", damaged)
    guard = Guard("correct")
    if times == 1:
        assert torch.equal(attend(q, k, v, name="x", guard=guard), clean)
    else:
        with pytest.raises(FaultError, match="rows that sum to 1"):
            attend(q, k, v, name="x", guard=guard)
        assert len(calls) == 1 + attention.TRIES
    (event,) = guard.events
    assert (event.layer, event.scheme) == ("x.softmax", "recomputed" if times == 1 else "row sums")


def test_a_softmax_that_is_wrong_may_only_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_weights", lambda scores, _: 2 * scores.softmax(-1))
    guard = Guard("record")
    attend(*torch.randn(3, 2, 5, 4), name="x", guard=guard)
    assert [event.action for event in guard.events] == ["recorded"]


def test_numbers_that_are_not_finite_come_from_before() -> None:
    q, k, v = torch.randn(3, 2, 5, 4)
    q[0, 0, 0] = math.nan
    with pytest.raises(FaultError, match=r"'x\.qk' \(non-finite input\)"):
        attend(q, k, v, name="x", guard=Guard("correct"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("keys", [1, 10, 1000, 10_000])
def test_rows_of_torchs_softmax_keep_to_the_tolerance(keys: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(keys)
    for sharpness in (0.0, 1e-3, 1.0, 30.0):
        scores = (sharpness * torch.randn(64, keys, generator=generator)).to(dtype)
        off = (scores.softmax(-1).double().sum(-1) - 1).abs().max()
        assert float(off) <= rows_tolerance(keys, dtype)


def test_gradients_are_those_of_torch() -> None:
    leaves = [torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3)]
    attend(*leaves, name="x", guard=Guard("raise")).square().sum().backward()
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    functional.scaled_dot_product_attention(*leaves).square().sum().backward()
    for gradient, leaf in zip(found, leaves, strict=True):
        assert gradient is not None
        torch.testing.assert_close(gradient, leaf.grad)
