import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from holdfast.core.errors import UsageError
from holdfast.core.stats import bootstrap, roc_auc, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I: method 3 (score without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
    ids=str,
)
def test_wilson_gives_the_published_intervals(successes, n, low, high):
    interval = wilson(successes, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_within_zero_and_one(drawn):
    successes, n = drawn
    interval = wilson(successes, n)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1
    mirrored = wilson(n - successes, n)
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)], ids=str)
def test_wilson_refuses_impossible_rates(successes, n):
    with pytest.raises(UsageError, match=f"{successes} of {n}"):
        wilson(successes, n)


@pytest.mark.parametrize("level", [0, 1, 95, float("nan")])
def test_levels_are_checked(level):
    with pytest.raises(UsageError, match=r"\(0, 1\)"):
        wilson(1, 2, level)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60).filter(
        lambda pairs: len({label for label, _ in pairs}) == 2
    )
)
def test_auc_is_that_of_scikit_learn_with_ties(pairs):
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    auc, interval = roc_auc(labels.astype(int), scores)
    assert auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert 0 <= interval.low <= auc <= interval.high <= 1


def test_delong_is_the_slow_definition():
    """Variance from the m×n comparisons of DeLong, DeLong and Clarke-Pearson 1988, equations 2 to 5."""
    rng = np.random.default_rng(1)
    positive, negative = np.round(rng.normal(1, 1, 40), 1), np.round(rng.normal(0, 1, 70), 1)
    kernel = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = kernel.mean(1).var(ddof=1) / 40 + kernel.mean(0).var(ddof=1) / 70
    labels = np.repeat([1, 0], [40, 70])
    auc, interval = roc_auc(labels, np.concatenate([positive, negative]))
    assert auc == pytest.approx(kernel.mean(), abs=1e-12)
    assert interval.high - interval.low == pytest.approx(2 * 1.959963984540054 * variance**0.5, abs=1e-12)


def test_delong_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth, hits = 0.7602499389065233, 0  # P(N(1,1) > N(0,1)) = Phi(1/sqrt(2))
    labels = np.repeat([1, 0], [150, 150])
    for _ in range(300):
        _, interval = roc_auc(labels, rng.normal(size=300) + labels)
        hits += interval.low <= truth <= interval.high
    assert 0.91 < hits / 300 < 0.985


@pytest.mark.parametrize(
    ("labels", "scores", "says"),
    [
        ([1, 1], [0.1, 0.2], "both 0 and 1"),
        ([0, 1, 2], [0.1, 0.2, 0.3], "nothing else"),
        ([], [], "both 0 and 1"),
        ([0, 1], [0.1, float("nan")], "1 non-finite"),
        ([0, 1], [0.1, float("inf")], "1 non-finite"),
        ([0, 1], [0.1], "one length"),
        ([[0, 1]], [[0.1, 0.2]], "one length"),
    ],
    ids=["one class", "three classes", "empty", "nan", "inf", "lengths", "matrix"],
)
def test_auc_refuses(labels, scores, says):
    with pytest.raises(UsageError, match=says):
        roc_auc(np.array(labels, dtype=int), np.array(scores, dtype=float))


def test_auc_of_one_each_and_of_strided_scores():
    assert roc_auc(np.array([0, 1]), np.array([1.0, 2.0]))[0] == 1
    scores = np.arange(20.0)[::2]
    labels = (np.arange(20) % 4 == 0)[::2].astype(int)
    assert roc_auc(labels, scores)[0] == pytest.approx(roc_auc_score(labels, scores))


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    values = np.random.default_rng(0).normal(10, 2, 400)
    interval = bootstrap(values, lambda sample: float(np.mean(sample)), seed=3)
    half = 1.96 * values.std(ddof=1) / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_bootstrap_repeats_and_is_degenerate_for_one_value():
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)
    one = bootstrap(np.array([4.0]), seed=0)
    assert (one.low, one.high) == (4.0, 4.0)
    with pytest.raises(UsageError, match="at least one value"):
        bootstrap(np.array([]), seed=0)
