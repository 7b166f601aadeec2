"""How sure a number is, and the difference of two."""

from math import comb, sqrt
from statistics import NormalDist

import numpy as np


RESAMPLES = 10_000


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion, which stays within [0, 1] and holds its level for small n.

    Args:
        correct: successes.
        n: trials, at least 1.
        confidence: of the interval.

    Returns:
        its two ends.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"need 0 <= correct <= n and n >= 1, got {correct} of {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = correct / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return max(0.0, center - half), min(1.0, center + half)


def bootstrap_interval(
    values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, confidence: float = 0.95
) -> tuple[float, float]:
    """The bootstrap's percentile interval of a mean: items are drawn with replacement, as many as there are.

    For a paired difference, give each item's difference.

    Args:
        values: (n,) of each item.
        seed: of the draws; the same values and seed give the same interval.
        resamples: how often is drawn.
        confidence: of the interval.

    Returns:
        its two ends.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if len(values) == 0:
        raise ValueError("need at least one value")
    # A resample's mean depends on how often it holds each distinct value alone, and these are few.
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    rng, n, means = np.random.default_rng(seed), len(values), []
    at_once = max(1, 2**24 // len(distinct))
    for start in range(0, resamples, at_once):
        drawn = rng.multinomial(n, counts / n, size=min(at_once, resamples - start))
        means.append(drawn @ distinct / n)
    return _percentiles(np.concatenate(means), confidence)


def macro_interval(
    correct: np.ndarray, totals: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, confidence: float = 0.95
) -> tuple[float, float]:
    """The same of a mean of class accuracies: each class's clips are drawn among themselves.

    Args:
        correct, totals: (classes,) of each class, its clips put in their class and all its clips, at least 1.
        seed, resamples, confidence: as for `bootstrap_interval`.

    Returns:
        its two ends.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.binomial(totals, correct / totals, size=(resamples, len(totals)))
    return _percentiles((drawn / totals).mean(axis=1), confidence)


def _percentiles(means: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's exact test of whether two models are right equally often on the same clips.

    Only clips that one of them alone gets right count: of equally good models, each would have such a clip with
    probability ½.

    Args:
        first, second: (clips,) bool, whether each model is right.

    Returns:
        the two-sided p, 1 where they never differ.

    Source: McNemar 1947, Psychometrika 12; the exact form: Agresti 2013, Categorical Data Analysis, section 11.1.
    """
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"need the same clips, got {first.shape} and {second.shape}")
    mine, theirs = int((first & ~second).sum()), int((second & ~first).sum())
    differing = mine + theirs
    tail = sum(comb(differing, k) for k in range(min(mine, theirs) + 1))  # in whole numbers, which have no end
    return min(1.0, 2 * tail / 2**differing)


__all__ = ["RESAMPLES", "bootstrap_interval", "macro_interval", "mcnemar", "wilson_interval"]
