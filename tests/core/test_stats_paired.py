"""Intervals of differences and of samples that belong together, against slow and readable ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.core.stats import auc_difference, mean_difference, roc_auc

Z = 1.959963984540054
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 2, 300)
FIRST = LABELS + RNG.normal(0, 1.5, 300)
SECOND = FIRST + RNG.normal(0, 0.5, 300)


def slow_components(labels, scores):
    """DeLong's structural components, pair by pair."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins.mean(1), wins.mean(0)


@given(st.integers(0, 10_000), st.integers(4, 40))
@settings(max_examples=25, deadline=None)
def test_difference_is_delongs(seed, n):
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 0, 1, 1, rng.integers(0, 2, n)]
    first, second = rng.integers(0, 6, (2, len(labels))).astype(float)
    value, interval = auc_difference(labels, first, second)
    (p, q), (r, s) = slow_components(labels, first), slow_components(labels, second)
    variance = np.cov(np.array([p, r])) / len(p) + np.cov(np.array([q, s])) / len(q)
    contrast = np.array([1, -1])
    assert value == pytest.approx(p.mean() - r.mean())
    half = Z * np.sqrt(max(0, contrast @ variance @ contrast))
    assert interval.high - value == pytest.approx(half, abs=1e-9)


def test_a_difference_is_told_more_sharply_than_its_parts():
    _, own = roc_auc(LABELS, FIRST)
    _, paired = auc_difference(LABELS, FIRST, SECOND)
    assert paired.high - paired.low < 0.7 * (own.high - own.low)


def test_the_same_scores_differ_by_nothing():
    value, interval = auc_difference(LABELS, FIRST, FIRST)
    assert (value, interval.low, interval.high) == (0, 0, 0)


def test_groups_of_one_are_no_groups():
    _, plain = roc_auc(LABELS, FIRST)
    value, grouped = roc_auc(LABELS, FIRST, groups=np.arange(300))
    assert value == roc_auc(LABELS, FIRST)[0]
    assert grouped.high - grouped.low == pytest.approx(plain.high - plain.low, rel=0.01)
    assert grouped.method == "delong, by group"


def test_a_sample_repeated_ten_times_tells_no_more_than_once():
    ten = np.repeat(np.arange(300), 10)
    _, once = roc_auc(LABELS, FIRST)
    _, naive = roc_auc(LABELS[ten], FIRST[ten])
    _, grouped = roc_auc(LABELS[ten], FIRST[ten], groups=ten)
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.01)
    assert naive.high - naive.low < 0.4 * (once.high - once.low)


def test_coverage_of_the_interval_by_group():
    """A draw shared by each of 20 groups moves all its scores: the truth is covered as often as said."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 40)
    runs = 200
    # Wrong scales of the score between groups mix the ranks; the truth is the mean over many runs.
    aucs, found = [], []
    for _ in range(runs):
        labels = rng.integers(0, 2, 800)
        scores = labels * rng.normal(1, 1, 20)[groups] + rng.normal(0, 1, 800)
        value, grouped = roc_auc(labels, scores, groups=groups)
        aucs.append(value)
        found.append((grouped, roc_auc(labels, scores)[1]))
    truth = np.mean(aucs)
    hits = sum(g.low <= truth <= g.high for g, _ in found)
    naive_hits = sum(n.low <= truth <= n.high for _, n in found)
    assert hits >= 0.88 * runs
    assert naive_hits < 0.7 * runs


def test_mean_difference_by_hand():
    value, interval = mean_difference(np.array([1.0, 1, 0, 1]), np.array([0.0, 1, 0, 0]))
    assert value == 0.5
    assert interval.high - 0.5 == pytest.approx(Z * np.sqrt(np.var([1, 0, 0, 1], ddof=1) / 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda: roc_auc(LABELS, FIRST, groups=np.zeros(300, dtype=int)),
        lambda: mean_difference(np.zeros(3), np.zeros(4)),
        lambda: mean_difference(np.zeros(0), np.zeros(0)),
        lambda: auc_difference(LABELS, FIRST, SECOND[:-1]),
    ],
    ids=["one group", "lengths", "empty", "lengths of scores"],
)
def test_bad_input(call):
    with pytest.raises(UsageError):
        call()
