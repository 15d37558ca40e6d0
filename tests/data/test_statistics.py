"""Streaming statistics against NumPy on all values at once, in any cut and order of merging."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.core.stats import roc_auc
from holdfast.data.statistics import ImageMoments, Spectrum, separation, significance

FLOATS = st.lists(st.floats(width=32, allow_subnormal=False), max_size=40)
HARD = np.array(
    [0, -0.0, 1, -1, 2, 3.5, 1e-30, -1e30, 3.4028235e38, -3.4028235e38, np.nan, np.inf, -np.inf, 1e-38, 255],
    dtype=np.float32,
)


def spectrum(values) -> Spectrum:
    found = Spectrum()
    found.add(np.asarray(values, dtype=np.float32))
    return found


def truncated(values) -> np.ndarray:
    """Values as a spectrum's bins know them: the upper half of each float32."""
    return (np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@settings(max_examples=30, deadline=None)
@given(FLOATS, st.integers(0, 40))
def test_a_spectrum_agrees_with_numpy_however_it_is_cut(values, cut):
    values = np.concatenate([np.array(values, dtype=np.float32), HARD])
    whole, parts = spectrum(values), spectrum(values[:cut])
    parts.merge(spectrum(values[cut:]))
    finite = values[np.isfinite(values)].astype(np.float64)
    for found in (whole, parts):
        assert found.nan == np.isnan(values).sum()
        assert found.infinite == np.isinf(values).sum()
        assert found.n == len(finite)
        assert found.zero == (finite == 0).sum()
        assert found.negative == (finite < 0).sum()
        assert (found.low, found.high) == (finite.min(), finite.max())
        assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e22)
        assert found.std == pytest.approx(finite.std(ddof=1), rel=1e-6)
    assert np.array_equal(whole.counts(), parts.counts())
    assert whole.counts().sum() == len(finite)


def test_bins_are_narrow_and_hold_the_values_between_their_edges():
    edges = Spectrum.EDGES
    assert (np.diff(edges) > 0).all()
    assert len(edges) == len(spectrum([]).counts()) + 1
    usual = np.abs(edges[:-1]) > 1e-37
    assert (np.diff(edges)[usual] / np.abs(edges[:-1])[usual]).max() <= 2**-7
    for value in HARD[np.isfinite(HARD)]:
        (k,) = np.flatnonzero(spectrum([value]).counts())
        low, high = edges[k], edges[k + 1]
        assert low <= value <= high, value


def test_quantiles_are_those_of_numpy_to_a_bin():
    values = np.random.default_rng(0).lognormal(0, 2, 5000).astype(np.float32)
    found = spectrum(values)

    def at(sample, q):
        return np.quantile(sample, q, method="inverted_cdf")

    for q in (0, 0.01, 0.25, 0.5, 0.9, 0.999, 1):
        assert found.quantile(q) == pytest.approx(at(values, q), rel=0.01)
    found.add(np.zeros(5000))
    assert found.quantile(0.4) == 0
    assert found.quantile(0.5, nonzero=True) == pytest.approx(at(values, 0.5), rel=0.01)
    assert found.quantile(0.01, nonzero=True) == pytest.approx(at(values, 0.01), rel=0.01)


def test_a_quantile_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one value"):
        spectrum([np.nan]).quantile(0.5)
    with pytest.raises(UsageError, match="q=2"):
        spectrum([1]).quantile(2)


def test_a_histogram_counts_exactly_between_the_edges_it_names():
    values = np.random.default_rng(1).normal(0, 3, 4000).astype(np.float32)
    asked = np.linspace(-9, 9, 30)
    edges, counts = spectrum(values).histogram(asked)
    assert np.abs(edges - asked).max() <= 9 * 2**-8
    assert np.array_equal(counts, np.histogram(values, edges)[0])
    with_zeros = spectrum(np.append(values, np.zeros(10)))
    assert with_zeros.histogram(asked)[1].sum() == counts.sum() + 10
    assert np.array_equal(with_zeros.histogram(asked, nonzero=True)[1], counts)


def test_whole_numbers_are_known_as_such():
    assert spectrum([0, 3, -2, 1e6]).whole
    mixed = spectrum([1, 2])
    mixed.merge(spectrum([0.5]))
    assert not mixed.whole


def test_the_separation_is_the_roc_auc_of_binned_values_with_delongs_interval():
    rng = np.random.default_rng(2)
    low, high = rng.normal(0, 1, 300).astype(np.float32), rng.normal(0.5, 1, 200).astype(np.float32)
    labels = np.repeat([0, 1], [300, 200])
    expected, span = roc_auc(labels, truncated(np.concatenate([low, high])))
    auc, interval = separation(spectrum(low), spectrum(high))
    assert auc == pytest.approx(expected, abs=1e-12)
    assert (interval.low, interval.high) == pytest.approx((span.low, span.high), abs=1e-12)
    assert separation(spectrum([1]), spectrum(high)) is None


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 1000))
def test_image_moments_agree_with_numpy_however_they_are_cut(n, cut, seed):
    images = np.random.default_rng(seed).normal(1000, 1, (n, 2, 3, 4)).astype(np.float32)
    images[:, 0, 0, 0] = 0
    parts, rest = ImageMoments(images.shape[1:]), ImageMoments(images.shape[1:])
    parts.add(images[:cut])
    rest.add(images[cut:])
    parts.merge(rest)
    assert parts.n == n
    assert np.allclose(parts.mean, images.mean(0, dtype=np.float64), rtol=1e-12)
    assert np.array_equal(parts.hits, (images != 0).sum(0))
    expected = images.astype(np.float64).var(0, ddof=1) / n if n > 1 else np.full((2, 3, 4), np.inf)
    assert np.allclose(parts.variance_of_mean, expected, rtol=1e-6, atol=1e-12)


def test_images_that_are_not_finite_are_left_out_and_counted():
    images = np.ones((4, 1, 2, 2), dtype=np.float32)
    images[1, 0, 0, 0], images[2, 0, 1, 1] = np.nan, np.inf
    found = ImageMoments((1, 2, 2))
    found.add(images)
    assert (found.n, found.left_out) == (2, 2)
    assert np.array_equal(found.mean, np.ones((1, 2, 2)))


def test_the_significance_is_welchs_and_absent_where_too_little_was_hit():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 1, (40, 1, 2, 2)), rng.normal(0.5, 2, (60, 1, 2, 2))
    a, b = a.astype(np.float32), b.astype(np.float32)
    a[:, 0, 0, 0] = b[:, 0, 0, 0] = 0
    b[:5, 0, 0, 0] = 1
    low, high = ImageMoments((1, 2, 2)), ImageMoments((1, 2, 2))
    low.add(a)
    high.add(b)
    z = significance(low, high)
    error = np.sqrt(a.var(0, ddof=1, dtype=np.float64) / 40 + b.var(0, ddof=1, dtype=np.float64) / 60)
    expected = (b.mean(0, dtype=np.float64) - a.mean(0, dtype=np.float64)) / error
    assert np.isnan(z[0, 0, 0])
    assert np.allclose(z[0, 1], expected[0, 1], rtol=1e-6)
