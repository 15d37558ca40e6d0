"""Adaptive pruning keeps what the paper says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.subnet.layers import prunable
from holdfast.subnet.rates import adaptive_counts, channel_counts, check_counts, log10_masks, log10_paths

SIZES = st.lists(st.integers(1, 100_000), min_size=1, max_size=12)


def resnet34() -> dict[str, int]:
    model = models.create("resnet34", in_channels=3, classes=10, size=32, stem="cifar")
    return {name: layer.weight.numel() for name, layer in prunable(model).items()}


def test_resnet34_keeps_what_the_published_code_keeps() -> None:
    sizes = resnet34()
    counts = dict(zip(sizes, adaptive_counts(list(sizes.values()), 0.99, 0.1), strict=True))
    assert sum(sizes.values()) == 21_265_088
    assert sum(counts.values()) == 212_651
    assert counts["conv1"] == sizes["conv1"] == 1728  # saturated
    density = {name: counts[name] / sizes[name] for name in sizes}
    assert density["layer1.0.conv1"] == pytest.approx(0.131, abs=5e-4)
    assert density["layer4.2.conv2"] == pytest.approx(0.0031, abs=5e-5)
    assert density["fc"] == pytest.approx(0.775, abs=5e-4)


@given(SIZES, st.floats(0, 0.999), st.floats(0, 3))
def test_counts_add_up_and_fit(sizes: list[int], rate: float, p: float) -> None:
    total = round((1 - rate) * sum(sizes))
    if total < len(sizes):
        with pytest.raises(UsageError, match="at least 1 weight"):
            adaptive_counts(sizes, rate, p)
        return
    counts = adaptive_counts(sizes, rate, p)
    assert sum(counts) == total
    assert all(1 <= kept <= size for kept, size in zip(counts, sizes, strict=True))


@given(SIZES, st.floats(0, 0.99), st.floats(0, 2))
def test_unsaturated_layers_have_equal_ratios(sizes: list[int], rate: float, p: float) -> None:
    if round((1 - rate) * sum(sizes)) < len(sizes):
        return
    counts = adaptive_counts(sizes, rate, p)
    between = [(m, n) for m, n in zip(counts, sizes, strict=True) if 1 < m < n]
    for m, n in between:
        for other_m, other_n in between:
            # One weight either way by rounding, another by what is left over.
            assert (m - 2) / n**p <= (other_m + 2) / other_n**p


def test_the_two_ends() -> None:
    assert adaptive_counts([100, 1000, 10_000], 0.9, 1) == [10, 100, 1000]
    assert adaptive_counts([1000, 1000, 10_000], 0.9, 0) == [400, 400, 400]


def test_a_fixed_rate_has_most_masks_and_a_fixed_number_most_paths() -> None:
    sizes = list(resnet34().values())
    counts = {p: adaptive_counts(sizes, 0.99, p) for p in (0, 0.1, 0.5, 1)}
    masks = {p: log10_masks(sizes, kept) for p, kept in counts.items()}
    paths = {p: log10_paths(kept) for p, kept in counts.items()}
    assert max(masks, key=masks.__getitem__) == 1
    assert max(paths, key=paths.__getitem__) == 0
    assert log10_masks([10], [3]) == pytest.approx(math.log10(120))


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_rates_outside_are_refused(rate: float) -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\)"):
        adaptive_counts([10, 10], rate, 1)


@pytest.mark.parametrize("p", [-1.0, float("inf"), float("nan")])
def test_powers_outside_are_refused(p: float) -> None:
    with pytest.raises(UsageError, match="finite number >= 0"):
        adaptive_counts([10, 10], 0.5, p)


@pytest.mark.parametrize("counts", [[1], [0, 1], [1, 11], [True, 1], [1.5, 1]])
def test_counts_that_do_not_fit_are_refused(counts: list[int]) -> None:
    with pytest.raises(UsageError):
        check_counts(counts, [10, 10])
    assert check_counts([10, 1], [10, 10]) == [10, 1]


def test_counts_of_whole_channels() -> None:
    shapes = [(16, 1, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (10, 64)]
    assert channel_counts(shapes, 0.5, 1.0) == [144, 8 * 288, 16 * 576, 32 * 10]
    assert channel_counts(shapes, 0.99, 1.0) == [144, 288, 576, 10]
    with pytest.raises(UsageError, match=r"\[0, 1\)"):
        channel_counts(shapes, 1.0, 1.0)


@given(SIZES, st.floats(0, 1), st.floats(-3, 3))
def test_a_tilt_moves_weights_to_one_end(sizes: list[int], p: float, tilt: float) -> None:
    sizes = [size + len(sizes) for size in sizes]
    plain, tilted = (adaptive_counts(sizes, 0.5, p, tilt=t) for t in (0.0, tilt))
    assert sum(tilted) == sum(plain)
    assert all(1 <= kept <= size for kept, size in zip(tilted, sizes, strict=True))
    half = len(sizes) // 2
    if len(sizes) > 1:
        moved = sum(tilted[-half:]) - sum(plain[-half:])
        assert moved * tilt >= -abs(tilt) * len(sizes)  # but for rounding


def test_layers_of_one_size_keep_in_the_proportion_of_the_tilt() -> None:
    counts = adaptive_counts([10**6] * 3, 0.99, 0.1, tilt=2.0)
    assert [round(kept / counts[1], 2) for kept in counts] == [0.37, 1.0, 2.72]
    with pytest.raises(UsageError, match="-20 to 20"):
        adaptive_counts([10], 0.5, 1, tilt=math.nan)
