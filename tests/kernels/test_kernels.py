"""Every instruction set that this machine offers against the reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from holdfast import kernels
from holdfast.kernels import Window, native, reference
from holdfast.kernels.checksum import ChecksumConvolution

pytestmark = pytest.mark.skipif(not native.variants(), reason="the native core is not built")

# Widths of vectors are 2, 4 and 8; rows are taken by 4; blocks are 2048 long.
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 33)


@pytest.fixture(params=native.variants() or ["none"])
def core(request: pytest.FixtureRequest) -> native.Kernels:
    return native.Kernels(request.param)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [*SIZES, 2047, 2048, 2049, 5000])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_batch_sum(core: native.Kernels, n: int, length: int) -> None:
    x = _draw(n, length)
    total, stats = core.batch_sum(x)
    expected, expected_stats = reference.batch_sum(x)
    assert total.dtype is torch.float64
    assert _close(total, expected)
    assert stats == pytest.approx(expected_stats, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 5, 16, 18])
def test_batch_sum_sees_what_is_not_finite(core: native.Kernels, bad: float, where: int) -> None:
    x = _draw(2, 19)
    assert core.batch_sum(x)[1].finite
    x[1, where] = bad
    total, stats = core.batch_sum(x)
    assert not stats.finite
    assert not total[where].isfinite()
    assert int((~total.isfinite()).sum()) == 1


CONVOLUTIONS = {
    "1x1": ((1, 1), Window()),
    "1x1 stride 2": ((1, 1), Window(stride=(2, 2))),
    "1x1 padded": ((1, 1), Window(padding=(1, 1, 1, 1))),
    "3x3 same": ((3, 3), Window(padding=(1, 1, 1, 1))),
    "3x3 stride 2": ((3, 3), Window(stride=(2, 2), padding=(1, 1, 1, 1))),
    "even, uneven padding": ((2, 4), Window(padding=(1, 2, 0, 1))),
    "dilated": ((3, 2), Window(dilation=(2, 3), padding=(3, 3, 2, 2))),
    "padding wider than the kernel": ((3, 3), Window(padding=(4, 4, 5, 5))),
    "5x5 stride (3, 2)": ((5, 5), Window(stride=(3, 2), padding=(2, 2, 2, 2))),
    "11x11 stride 4": ((11, 11), Window(stride=(4, 4), padding=(5, 5, 5, 5))),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("channels", [1, 3, 8, 17, 40])
@pytest.mark.parametrize("size", [(4, 5), (7, 7), (9, 17), (1, 33)])
@pytest.mark.parametrize("channels_last", [False, True], ids=["first", "last"])
def test_checksum_convolution(
    core: native.Kernels, name: str, channels: int, size: tuple[int, int], channels_last: bool
) -> None:
    kernel, window = CONVOLUTIONS[name]
    if min(window.output_size(size, kernel)) < 1:
        pytest.skip("the kernel is larger than the map")
    shape = (*size, channels) if channels_last else (channels, *size)
    total = _draw(*shape).double()
    weight = _draw(channels, *kernel, seed=1).double()
    prepared = weight.permute(1, 2, 0).contiguous() if channels_last else weight
    geometry = core.geometry((channels, *size), kernel, window)
    out = core.checksum_convolution(total, prepared, geometry, channels_last)
    assert _close(out, reference.checksum_convolution(total, weight, window, channels_last))


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("channels_last", [False, True], ids=["first", "last"])
def test_prepared_checksum_convolution(name: str, channels_last: bool) -> None:
    kernel, window = CONVOLUTIONS[name]
    weight = _draw(3, *kernel).double()
    convolution = ChecksumConvolution(weight, window)
    for size in ((12, 13), (14, 11), (12, 13)):
        total = _draw(*((*size, 3) if channels_last else (3, *size))).double()
        expected = reference.checksum_convolution(total, weight, window, channels_last)
        assert _close(convolution(total, channels_last), expected)


@pytest.mark.parametrize("positions", [*SIZES, 2049])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (2, 8), (3, 5), (5, 17), (2, 2100)])
@pytest.mark.parametrize("channels_last", [False, True], ids=["first", "last"])
def test_check_sums(core: native.Kernels, n: int, m: int, positions: int, channels_last: bool) -> None:
    out = _draw(n, positions, m) if channels_last else _draw(n, m, positions)
    expected = _draw(positions, seed=1).double()
    for threshold in (0.0, 1.0, 1e9):
        ours = core.check_sums(out, expected, 0.25, threshold, channels_last)
        theirs = reference.check_sums(out, expected, 0.25, threshold, channels_last)
        assert ours == pytest.approx(theirs, rel=1e-12)
        assert threshold != 0.0 or ours.violations == positions
        assert threshold != 1e9 or ours.violations == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("channels_last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize(
    ("n", "m", "positions"), [(1, 1, 1), (2, 3, 1), (2, 5, 19), (1, 17, 7), (3, 4, 2050)]
)
def test_what_is_not_finite_never_passes(
    core: native.Kernels, bad: float, n: int, m: int, positions: int, channels_last: bool
) -> None:
    out = _draw(n, positions, m) if channels_last else _draw(n, m, positions)
    sums = reference.batch_sum(out.movedim(-1, 1) if channels_last else out)[0].sum(0)
    for flat in {0, 1 % out.numel(), out.numel() // 2, out.numel() - 1}:
        spoiled = out.clone()
        spoiled.view(-1)[flat] = bad  # finite values follow it everywhere but at the end
        verdict = core.check_sums(spoiled, sums, 0.0, 1e30, channels_last)
        assert verdict == reference.check_sums(spoiled, sums, 0.0, 1e30, channels_last)
        assert verdict.violations == verdict.nonfinite == 1
        assert verdict.deviation == math.inf


def test_opposite_infinities_and_a_large_finite_value(core: native.Kernels) -> None:
    expected = torch.zeros(3, dtype=torch.float64)
    out = torch.zeros(1, 2, 3)
    out[0, :, 1] = torch.tensor([math.inf, -math.inf])
    out[0, 0, 2] = 3e38
    verdict = core.check_sums(out, expected, 0.0, 1.0, False)
    assert (verdict.violations, verdict.nonfinite, verdict.first) == (2, 1, 1)


@pytest.mark.parametrize("expected", [math.nan, math.inf])
def test_a_damaged_checksum_never_passes(core: native.Kernels, expected: float) -> None:
    checksums = torch.tensor([0.0, expected], dtype=torch.float64)
    out = torch.zeros(1, 1, 2)
    ours = core.check_sums(out, checksums, 0.0, 1.0, False)
    assert ours == reference.check_sums(out, checksums, 0.0, 1.0, False)
    assert (ours.violations, ours.nonfinite, ours.first) == (1, 0, 1)


def test_threshold_that_is_not_a_number_never_passes(core: native.Kernels) -> None:
    zeros = torch.zeros(1, dtype=torch.float64)
    assert core.check_sums(torch.zeros(1, 1, 1), zeros, 0.0, math.nan, False).violations == 1
    assert reference.check_sums(torch.zeros(1, 1, 1), zeros, 0.0, math.nan, False).violations == 1


def test_many_threads_give_the_same(core: native.Kernels) -> None:
    """Large enough that every pass is shared out; positions do not depend on who computes them."""
    x = _draw(8, 64 * 40 * 41)
    weight = _draw(64, 3, 3, seed=1).double()
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            total, stats = core.batch_sum(x)
            geometry = core.geometry((64, 40, 41), (3, 3), Window(padding=(1, 1, 1, 1)))
            out = core.checksum_convolution(total.view(64, 40, 41), weight, geometry, False)
            verdict = core.check_sums(x.view(8, 64, -1), out, 0.0, 1.0, False)
            last = core.check_sums(x.view(8, -1, 64), out, 0.0, 1.0, True)
            results.append((total, stats.max_abs, out, verdict, last))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0])
        assert torch.equal(result[2], results[0][2])
        assert (result[1], *result[3:]) == (results[0][1], *results[0][3:])


def test_other_tensors_go_to_the_reference() -> None:
    strided = _draw(4, 6, 10).transpose(1, 2)
    for x in (strided, strided.double(), strided.to(torch.bfloat16), strided[:, ::2]):
        total, stats = kernels.batch_sum(x)
        expected, expected_stats = reference.batch_sum(x)
        assert torch.equal(total, expected)
        assert stats == expected_stats
        sums = expected.sum(0)
        assert kernels.check_sums(x, sums, 0.0, 1e-9).violations == 0
        assert kernels.check_sums(x, sums + 1, 0.0, 0.5).violations == sums.numel()


def test_a_wrong_geometry_is_refused(core: native.Kernels) -> None:
    with pytest.raises(ValueError, match="too small"):
        core.geometry((0, 3, 3), (1, 1), Window())
