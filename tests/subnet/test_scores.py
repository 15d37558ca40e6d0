"""Masks have exactly k weights, whatever the scores."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from holdfast.core.errors import UsageError
from holdfast.subnet.scores import By, top_mask

# Few values, so that ties are the rule.
SCORES = st.lists(
    st.sampled_from([-math.inf, -2.0, -1.0, 0.0, 0.5, 1.0, 3.0, math.inf, math.nan]), min_size=1, max_size=40
)


def reference(scores: Tensor, k: int, by: By) -> Tensor:
    """By sorting (value, place): larger first, NaN last, earlier before later."""

    def order(i: int) -> tuple[float, int]:
        value = float(scores.reshape(-1)[i])
        value = abs(value) if by == "magnitude" else value
        return (math.inf if math.isnan(value) else -value, i)

    flat = torch.zeros(scores.numel(), dtype=torch.bool)
    flat[sorted(range(scores.numel()), key=order)[:k]] = True
    return flat.view(scores.shape)


@given(SCORES, st.floats(0, 1), st.sampled_from(["value", "magnitude"]))
def test_the_k_largest_and_exactly_k(values: list[float], share: float, by: By) -> None:
    scores = torch.tensor(values)
    k = round(share * len(values))
    mask = top_mask(scores, k, by)
    assert int(mask.sum()) == k
    if math.nan not in values and -math.inf not in values:
        assert torch.equal(mask, reference(scores, k, by))


def test_nan_and_ties() -> None:
    scores = torch.tensor([math.nan, 1.0, 2.0, 1.0, 1.0])
    assert top_mask(scores, 3).tolist() == [False, True, True, True, False]
    assert top_mask(scores, 4).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("by", ["value", "magnitude"])
def test_neither_the_type_nor_the_order_in_memory_matters(dtype: torch.dtype, by: By) -> None:
    scores = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    last = scores.to(memory_format=torch.channels_last)
    for k in (1, 30, 200, 359):
        expected = reference(scores, k, by)
        assert torch.equal(top_mask(scores, k, by), expected)
        assert torch.equal(top_mask(last, k, by), expected)
        assert torch.equal(top_mask(scores[:, ::2], k // 2, by), reference(scores[:, ::2], k // 2, by))
    if dtype is torch.float32:  # others have ties, whose order is that of the places
        assert top_mask(last, 30, by).stride() == last.stride()


@pytest.mark.parametrize("k", [-1, 5])
def test_more_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match="weights to keep"):
        top_mask(torch.zeros(4), k)
