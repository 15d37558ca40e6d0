"""The float32 checks against the reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from holdfast.kernels import Window, portable, reference
from holdfast.kernels.checksum import ChecksumConvolution


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CONVOLUTIONS = {
    "1x1": ((1, 1), Window()),
    "1x1 stride 2": ((1, 1), Window(stride=(2, 2))),
    "1x1 padded, stride 2": ((1, 1), Window(stride=(2, 2), padding=(1, 1, 1, 1))),
    "3x3 same": ((3, 3), Window(padding=(1, 1, 1, 1))),
    "3x3 stride 2": ((3, 3), Window(stride=(2, 2), padding=(1, 1, 1, 1))),
    "even, uneven padding": ((2, 4), Window(padding=(1, 2, 0, 1))),
    "dilated": ((3, 2), Window(dilation=(2, 3), padding=(3, 3, 2, 2))),
    "padding wider than the kernel": ((3, 3), Window(padding=(4, 4, 5, 5))),
    "5x5 stride (3, 2)": ((5, 5), Window(stride=(3, 2), padding=(2, 2, 2, 2))),
    "11x11 stride 4": ((11, 11), Window(stride=(4, 4), padding=(5, 5, 5, 5))),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("channels", [1, 3, 40])
@pytest.mark.parametrize("channels_last", [False, True], ids=["first", "last"])
def test_convolution(name: str, channels: int, channels_last: bool) -> None:
    kernel, window = CONVOLUTIONS[name]
    weight = _draw(channels, *kernel, seed=1).double()
    convolution = ChecksumConvolution(weight, window)
    for size in ((12, 13), (14, 11), (12, 13)):
        total = _draw(*((*size, channels) if channels_last else (channels, *size)))
        expected = reference.checksum_convolution(total.double(), weight, window, channels_last)
        found = convolution(total, channels_last)
        assert found.shape == expected.shape
        assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 5), (1, 3, 4, 4), (2, 7), (16, 3, 5, 4), (33, 2, 3)])
@pytest.mark.parametrize("channels_last", [False, True], ids=["first", "last"])
def test_sums(shape: tuple[int, ...], channels_last: bool) -> None:
    x = _draw(*shape)
    total, stats = reference.batch_sum(x)
    channels = shape[-1 if channels_last else 1]
    dense = portable.Dense(len(x), channels, total.numel() // channels, channels_last)
    assert torch.allclose(dense.image_sum(x).double().view_as(total), total, rtol=1e-6, atol=1e-5)
    assert stats.sum_squares * (1 - 1e-7) <= dense.squares(x) <= 1.001 * stats.sum_squares
    sums = dense.block_sums(x)
    expected = reference.block_sums(x, channels_last)
    assert sums.shape == expected.shape
    assert torch.allclose(sums.double(), expected, rtol=1e-6, atol=1e-5)


def test_a_single_image_is_its_own_sum() -> None:
    x = _draw(1, 3, 4)
    assert portable.Dense(1, 3, 4, False).image_sum(x).data_ptr() == x.data_ptr()


def test_the_sum_of_squares_is_an_upper_bound_for_many_equal_numbers() -> None:
    """Where one accumulator would stop growing at 2²⁴."""
    count = 1 << 25
    assert portable.Dense(1, 1, count, False).squares(torch.ones(count)) >= count


def test_torch_sums_in_cascades() -> None:
    """One after the other, 2²² numbers of 0.1 would be off by a third of a percent and more."""
    for shape, dim in (((1 << 22,), 0), ((1 << 18, 16), 0), ((16, 1 << 18), 1)):
        sums = torch.full(shape, 0.1).sum(dim).double()
        true = shape[dim] * float(torch.tensor(0.1))
        assert float((sums / true - 1).abs().max()) < 64 * 2.0**-24


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_shows_in_the_difference(bad: float) -> None:
    for at in range(3):
        a = torch.zeros(3)
        a[at] = bad
        low, high = portable.difference(a, torch.zeros(3, dtype=torch.float64))
        assert not (math.isfinite(low) and math.isfinite(high))
