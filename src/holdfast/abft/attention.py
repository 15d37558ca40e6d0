"""scaled_dot_product_attention with both products and the softmax between them checked.

    S = (Q·scale) Kᵀ + mask  →  P = softmax(S)  →  O = P V

QKᵀ and PV are products of ``batched``; the mask is added after the first has been checked, so −inf is legal.
A row of P must sum to 1. That sees what happens to the normalisation and to P in memory; it does not see a
fault inside the exponential, nor one in S between its check and the softmax, which leave the sum at 1.

The answer differs from torch's fused kernel by rounding alone: with s = (d + 2) u max|scale| max‖q‖ max‖k‖
the bound of an error of S, and u the unit roundoff, by at most 2 (2 s + (2 T + 8) u) max|V| for T keys.
P is stored (N, heads, queries, keys), which a fused kernel avoids.
"""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.abft.batched import as_batch, batch_shape, multiply
from holdfast.abft.events import Event, Guard
from holdfast.abft.ladder import TRIES
from holdfast.abft.threshold import ROUNDOFF
from holdfast.core.errors import FaultError
from holdfast.kernels import check_sums


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    name: str,
    guard: Guard,
) -> Tensor:
    """``torch.nn.functional.scaled_dot_product_attention``, checked; same arguments, shapes and result.

    ``query`` (..., L, d), ``key`` (..., S, d), ``value`` (..., S, v), batch dimensions broadcast. Events are
    named ``name`` + ``.qk``, ``.softmax`` or ``.av``. Raises FaultError as ``protect`` says.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    (length, depth), (keys, width) = query.shape[-2:], value.shape[-2:]
    batch = batch_shape(query, key, value)
    count = prod(batch)
    q, k, v = (as_batch(x, batch) for x in (query, key, value))
    factor = scale if scale is not None else 1 / sqrt(depth) if depth else 1.0
    scores = multiply(q, k.mT, f"{name}.qk", guard, factor, shape=batch)
    if is_causal:
        attn_mask = torch.ones(length, keys, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = _masked(scores.view(*batch, length, keys), attn_mask).view(count, length, keys)
    weights = _softmax(scores, f"{name}.softmax", guard, attn_mask is not None)
    if dropout_p > 0.0:
        weights = functional.dropout(weights, dropout_p)
    return multiply(weights, v, f"{name}.av", guard, shape=batch).view(*batch, length, width)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype is torch.bool:
        return scores.masked_fill(~mask, float("-inf"))
    return scores + mask.to(scores.dtype)


def _softmax(scores: Tensor, name: str, guard: Guard, masked: bool) -> Tensor:
    """softmax over the last dimension of ``scores`` (B, L, S), checked; rows that are all −inf give zeros."""
    weights = _weights(scores, masked)
    if not weights.numel():
        return weights
    tolerance = rows_tolerance(scores.shape[-1], weights.dtype)
    deviation = _off(scores, weights, tolerance)
    if guard.watch is not None:
        guard.watch(name, deviation, tolerance)
    if deviation <= tolerance:
        return weights
    first, solved = deviation, False
    rungs: list[str] = []
    while guard.on_fault == "correct" and not solved and len(rungs) < TRIES:
        weights = _weights(scores, masked)
        rungs.append("recomputed")
        solved = _off(scores, weights, tolerance) <= tolerance
    kind = "deviation" if first < float("inf") else "non-finite"
    if bool(scores.isnan().any() | scores.isposinf().any()):
        kind = "non-finite input"
    guard.events.append(
        Event(
            layer=name,
            scheme="recomputed" if solved else "row sums",
            kind=kind,  # type: ignore[arg-type]
            location=None,
            deviation=first,
            threshold=tolerance,
            action="recomputed" if solved else "recorded" if guard.on_fault == "record" else "raised",
            corrected=solved,
            rungs=tuple(rungs),
        )
    )
    if solved or guard.on_fault == "record":
        return weights
    raise FaultError(
        f"soft error in layer {name!r} ({kind})",
        expected=f"rows that sum to 1 within {tolerance:.3g}",
        got=f"{first:.3g}" + (f", after {', '.join(rungs)}" if rungs else ""),
        remedy="look at what computed the scores" if kind == "non-finite input" else "run again",
    )


def _weights(scores: Tensor, masked: bool) -> Tensor:
    weights = scores.softmax(-1)
    if masked:
        weights = weights.masked_fill((scores == float("-inf")).all(-1, keepdim=True), 0.0)
    return weights


def rows_tolerance(keys: int, dtype: torch.dtype) -> float:
    """How far a row of ``keys`` softmax outputs may sum from 1.

    (S + 8) u for the sum and the division that torch makes (in float32 for halves), and u of the result.
    """
    inner = torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
    return ROUNDOFF[dtype] + (keys + 8) * ROUNDOFF[inner]


def _off(scores: Tensor, weights: Tensor, tolerance: float) -> float:
    """The largest |Σ row − 1|, where rows that are masked throughout sum to 0; +Inf for NaN or Inf."""
    b, length, keys = weights.shape
    values = weights.detach().reshape(1, b * length, keys)
    ones = torch.ones(b * length, dtype=torch.float64, device=weights.device)
    verdict = check_sums(values, ones, 0.0, tolerance, True)
    if not verdict.violations:
        return verdict.deviation
    alive = (~(scores.detach() == float("-inf")).all(-1)).reshape(-1)
    return check_sums(values, alive.to(torch.float64), 0.0, tolerance, True).deviation
