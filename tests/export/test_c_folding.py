"""Norms and pools in numbers are what torch's modules do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast.export.c_folding import affine_of, scaling_of, statistics_of, windows_of
from holdfast.models.scaling import InputScaling


def pooled(pool: nn.Module, image: torch.Tensor) -> np.ndarray:
    rows, columns = windows_of(pool, tuple(image.shape))  # type: ignore[arg-type]
    of = np.max if isinstance(pool, nn.MaxPool2d) else np.mean
    windows = [[image.numpy()[a:b, c:d] for c, d in columns] for a, b in rows]
    return np.array([[of(window) for window in row] for row in windows])


@given(
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 4),
    ceil=st.booleans(),
    padded=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_windows_are_those_of_torch(sides, kernel, stride, ceil, padded) -> None:  # type: ignore[no-untyped-def]
    image = torch.randn(sides, dtype=torch.float64)
    padding = kernel // 2 if padded else 0
    pools: list[nn.Module] = [nn.AdaptiveAvgPool2d((kernel, None))]
    if min(sides) + 2 * padding >= kernel:
        pools.append(nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil))
    if min(sides) >= kernel:
        pools.append(nn.AvgPool2d(kernel, stride, ceil_mode=ceil))
    for pool in pools:
        np.testing.assert_allclose(pooled(pool, image), pool(image[None, None])[0, 0].numpy(), atol=1e-12)


def test_other_pools_are_refused() -> None:
    others = (nn.AvgPool2d(2, padding=1), nn.AvgPool2d(2, divisor_override=3), nn.MaxPool2d(2, dilation=2))
    for pool in others:
        with pytest.raises(ValueError):
            windows_of(pool, (8, 8))


@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_is_a_scale_and_a_shift(affine: bool) -> None:
    norm = nn.BatchNorm2d(3, affine=affine).double().eval()
    for value in norm.state_dict().values():
        value.copy_(torch.rand(value.shape) * 3 + 0.1)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    scale, shift = (torch.from_numpy(each).view(3, 1, 1) for each in affine_of(norm))
    torch.testing.assert_close(x * scale + shift, norm(x))


def test_statistics_are_kept_as_stored_where_nothing_is_lost() -> None:
    norm = nn.BatchNorm2d(3, affine=False).eval()
    mean, deviation = torch.tensor([-1.5, 1e-7, 300.0]).half(), torch.tensor([0.0, 6e-8, 2000.0]).half()
    norm.running_mean, norm.running_var = mean.float(), deviation.float().square()
    found = statistics_of(norm, 0.25)
    assert found is not None
    assert np.array_equal(found.mean.view(np.float16), mean.numpy())
    assert np.array_equal(found.deviation.view(np.float16), deviation.numpy())
    assert (found.eps, found.factor) == (norm.eps, 0.25)
    norm.running_var += 1e-4
    assert statistics_of(norm, 0.25) is None
    assert statistics_of(nn.BatchNorm2d(3), 1.0) is None


def test_input_scaling_is_a_scale_and_a_shift() -> None:
    scaling = InputScaling(2, mean=[0.5, -1], std=[2.0, 0.1], norm=True).eval().double()
    scaling.norm.running_mean.copy_(torch.tensor([3.0, -2.0]))  # type: ignore[union-attr,operator]
    scaling.norm.running_var.copy_(torch.tensor([0.3, 7.0]))  # type: ignore[union-attr,operator]
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64)
    scale, shift = (torch.from_numpy(each).view(2, 1, 1) for each in scaling_of(scaling))
    torch.testing.assert_close(x * scale + shift, scaling(x))
