"""Intervals and tests, against published values, scipy and resampling spelt out."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from sklearn.metrics import average_precision_score

from modeling_clap_student.evaluation.statistics import (
    average_precision_interval,
    bootstrap_interval,
    macro_interval,
    mcnemar,
    median_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    # Values of Newcombe 1998, Statistics in Medicine 17, table I (method 3), to four digits.
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_matches_published_values(correct, n, low, high):
    """Guards against the normal approximation, which leaves [0, 1]."""
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("kind", ["difference", "continuous"])
def test_bootstrap_interval_is_that_of_drawing_items(kind):
    """Guards against a shortcut through distinct values that draws differently from item by item."""
    rng = np.random.default_rng(0)
    values = rng.choice([-1, 0, 0, 0, 1, 1], size=80) if kind == "difference" else rng.exponential(size=80)
    means = values[rng.integers(80, size=(20_000, 80))].mean(axis=1)
    expected = np.quantile(means, [0.025, 0.975])
    # Means of 80 whole numbers lie 1/80 apart.
    assert bootstrap_interval(values, resamples=20_000) == pytest.approx(expected, abs=0.013)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)


def test_bootstrap_interval_of_what_never_differs():
    """Guards against a width where there is no spread, and against an interval of nothing."""
    assert bootstrap_interval(np.zeros(9)) == (0, 0)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval(np.zeros(0))


def test_macro_interval_draws_within_classes():
    """Guards against an interval of the plain accuracy: a class of few clips makes it wide."""
    rng = np.random.default_rng(0)
    right = [np.arange(5) < 3, np.arange(200) < 180]
    means = [np.mean([rng.choice(c, len(c)).mean() for c in right]) for _ in range(5000)]
    got = macro_interval(np.array([3, 180]), np.array([5, 200]))
    assert got == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert got[1] - got[0] > 3 * np.diff(wilson_interval(183, 205))[0]


def test_average_precision_interval_is_that_of_drawing_clips():
    """Guards against counting a clip once that was drawn twice, and ties by their order; scikit-learn draws too."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [12, 30, 20])
    scores = (rng.normal(size=(62, 3)) + 1.2 * (truth[:, None] == np.arange(3))).round(1)
    means = []
    for _ in range(1000):
        drawn = np.concatenate([rng.choice(np.flatnonzero(truth == c), (truth == c).sum()) for c in range(3)])
        means.append(np.mean([average_precision_score(truth[drawn] == c, scores[drawn, c]) for c in range(3)]))
    center = np.mean([average_precision_score(truth == c, scores[:, c]) for c in range(3)])
    low, high = average_precision_interval(scores, truth, resamples=2000)
    assert (low + high) / 2 == pytest.approx(center, abs=1e-9)
    assert high - low == pytest.approx(2 * 1.96 * np.std(means), rel=0.1)
    assert average_precision_interval((truth[:, None] == np.arange(3)).astype(float), truth) == (1, 1)


@pytest.mark.parametrize("n", [1, 5, 6, 7, 50, 481, 5000])
def test_median_interval_counts_heads(n):
    """Guards against an end that is one value off, and numbers that overflow for a thousand queries."""
    values = np.random.default_rng(n).permutation(n)  # a value is its own place
    low, high = median_interval(values)
    k = max(1, int(binom.ppf(0.025, n, 0.5)))
    assert (low, high) == (k - 1, n - k)
    assert n < 6 or 2 * binom.cdf(low, n, 0.5) <= 0.05 < 2 * binom.cdf(low + 1, n, 0.5)


def test_median_interval_of_nothing():
    """Guards against an IndexError."""
    with pytest.raises(ValueError, match="at least one"):
        median_interval(np.zeros(0))


@pytest.mark.parametrize(("mine", "theirs"), [(0, 0), (1, 0), (5, 5), (9, 2), (3, 40), (1500, 1400)])
def test_mcnemar_is_the_binomial_test(mine, theirs):
    """Guards against a one-sided p, one above 1, and numbers that overflow."""
    first = np.repeat([True, False, True, False], [mine, theirs, 7, 4])
    second = np.repeat([False, True, True, False], [mine, theirs, 7, 4])
    expected = binomtest(mine, mine + theirs).pvalue if mine + theirs else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_mcnemar_by_hand():
    """Guards against a reference that is wrong in the same way: 1 of 6 differing clips, 2 (1 + 6) / 64."""
    assert mcnemar(np.array([1, 1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 0, 1])) == 14 / 64
    with pytest.raises(ValueError, match="same clips"):
        mcnemar(np.ones(3), np.ones(4))
