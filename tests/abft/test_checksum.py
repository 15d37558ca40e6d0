"""The CoC-D equation: the convolution of the sums is the sum of the convolution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from holdfast.abft import checksum
from holdfast.abft.checksum import bias_sum, image_sum, kernel_sum
from holdfast.kernels import Window, reference


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 4),
    groups=st.sampled_from([1, 2, 5]),
    channels=st.integers(1, 4),
    outputs=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_co5_is_the_sum_of_the_output(
    n: int,
    groups: int,
    channels: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, groups * channels, 6, 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(groups * outputs, channels, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(groups * outputs, generator=generator, dtype=torch.float64)
    out = functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    window = Window((stride, stride), (dilation, dilation), (padding,) * 4)
    co5 = reference.checksum_convolution(x.sum(0), kernel_sum(weight, groups), window, channels_last=False)
    torch.testing.assert_close(co5 + n * bias_sum(bias), out.sum((0, 1)).flatten(), rtol=1e-12, atol=1e-11)


def test_kernel_sum_by_hand() -> None:
    weight = torch.tensor([1.0, 2.0, 10.0, 20.0]).reshape(4, 1, 1, 1)
    assert kernel_sum(weight, groups=2).flatten().tolist() == [3.0, 30.0]
    assert kernel_sum(weight).flatten().tolist() == [33.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_taken_in_float64(dtype: torch.dtype) -> None:
    """49152 over 384 channels, and a one that float32 would lose."""
    weight = torch.full((384, 1, 1, 1), 2.0**24, dtype=dtype)
    weight[0] = 1.0
    assert kernel_sum(weight).item() == 383 * 2.0**24 + 1
    assert bias_sum(weight.flatten()) == 383 * 2.0**24 + 1


def test_no_bias_sums_to_zero() -> None:
    assert bias_sum(None) == 0.0


@pytest.mark.parametrize("groups", [1, 2])
def test_sums_by_other_weights_and_in_pieces(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 2, 3, generator=generator)
    by = torch.rand(6, generator=generator, dtype=torch.float64)
    want = (by[:, None, None] * weight.double()).reshape(groups, -1, 2, 3).sum(1).flatten(0, 1)
    torch.testing.assert_close(kernel_sum(weight, groups, by), want)
    monkeypatch.setattr(checksum, "_CHUNK", 1)
    torch.testing.assert_close(kernel_sum(weight, groups, by), want)
    counts = torch.arange(1, 7, dtype=torch.float64)
    assert torch.equal(kernel_sum(weight, groups, weighted=True), kernel_sum(weight, groups, counts))
    torch.testing.assert_close(image_sum(weight, by), torch.tensordot(by, weight.double(), 1))
    assert torch.equal(image_sum(weight, weighted=True), image_sum(weight, counts))
