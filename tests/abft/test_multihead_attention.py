"""MultiheadAttention, whose projections and products torch computes in one function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from holdfast import protect
from holdfast.abft.events import Guard
from holdfast.abft.functional import attach
from holdfast.abft.weights import Keeper

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


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_with_padding_computes_what_is_padded_instead_of_packing_it() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    protected = protect(encoder, plan=None, on_fault="raise")
    padded = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    x = torch.randn(2, 5, 8)
    with torch.inference_mode():
        out, plain = (each(x, src_key_padding_mask=padded) for each in (protected, encoder))
    torch.testing.assert_close(out[~padded], plain[~padded], rtol=1e-4, atol=1e-5)
    assert {name for name, _ in protected.products} == {f"layers.{i}.self_attn" for i in range(2)}
