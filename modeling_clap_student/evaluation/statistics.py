"""A score and its interval; tests of differences on the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

import numpy as np

from ..errors import InputError
from .metrics import average_precision


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


def average_precision_interval(
    scores: np.ndarray, truth: np.ndarray, seed: int = 0, resamples: int = 200, confidence: float = 0.95
) -> tuple[float, float]:
    """The bootstrap's normal interval of the mean over the classes of their average precision.

    Each class's items are drawn among themselves, and the interval reaches as many standard deviations of the
    resamples' means to both sides, for which few resamples are enough: their percentiles would lie too high, since an
    item that is drawn twice finds itself. Of a class with few items the resamples vary too little, and the interval is
    narrower than it says. A resample costs a pass over all scores.

    Args:
        scores: (items, classes).
        truth: (items,) int, the class of each.
        seed, resamples, confidence: as for `bootstrap_interval`.

    Returns:
        its two ends, within [0, 1].

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 12.
    """
    rng, classes, means = np.random.default_rng(seed), np.unique(truth), []
    at_once = max(1, 2**21 // len(truth))
    for start in range(0, resamples, at_once):
        counts = np.zeros((min(at_once, resamples - start), len(truth)), dtype=np.int64)
        for c in classes:
            total = int((truth == c).sum())
            counts[:, truth == c] = rng.multinomial(total, np.full(total, 1 / total), size=len(counts))
        means.append(np.mean([average_precision(scores[:, c], truth == c, counts) for c in classes], axis=0))
    center = np.mean([average_precision(scores[:, c], truth == c) for c in classes])
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * np.concatenate(means).std()
    return float(max(0.0, center - reach)), float(min(1.0, center + reach))


def median_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a median whose ends are two of the values, whatever these are distributed like.

    Of n values, as many as a coin shows heads lie below the median: between the k-th from below and the k-th from
    above it lies with probability 1 - 2 P(heads < k), and k is the largest for which that is enough.

    Args:
        values: (n,) at least one.
        confidence: of the interval; of few values, all of them span less.

    Returns:
        its two ends.

    Source: Conover 1999, Practical Nonparametric Statistics, section 3.2.
    """
    ordered, n = np.sort(values), len(values)
    if n == 0:
        raise ValueError("need at least one value")
    k, term, below = 0, 1, 0  # term / 2ⁿ is P(heads = k), below / 2ⁿ is P(heads < k): whole numbers have no end
    allowed = int((1 - confidence) / 2 * 2**53) * 2**n // 2**53
    while below + term <= allowed:
        below, term, k = below + term, term * (n - k) // (k + 1), k + 1
    k = max(k, 1)
    return float(ordered[k - 1]), float(ordered[n - k])


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


@dataclass(frozen=True)
class ItemScores:
    """What each clip or text adds to a score that is their mean; of two models, the same items are compared.

    Attributes:
        items: (n,) what tells one item from another, each once: a clip's id, a text's number.
        values: (n,) bool or float.
    """

    items: np.ndarray
    values: np.ndarray

    @property
    def are_hits(self) -> bool:
        """Whether each item is right or wrong, and nothing between."""
        return self.values.dtype == bool


def paired_difference(models: Sequence[ItemScores], baseline: ItemScores, seed: int = 0) -> dict:
    """Models against a baseline on the same items.

    Args:
        models: one, or several whose mean is taken item by item.
        baseline: with at least one item of theirs.
        seed: of the bootstrap, which draws items.

    Returns:
        `difference`, in the metric's unit; its 95 % interval `difference_low`, `difference_high`; `mcnemar_p` of one
        model whose items are right or wrong, else null.

    Raises:
        InputError: no item was read by all.
    """
    shared = baseline.items
    for model in models:
        shared = np.intersect1d(shared, model.items)
    if len(shared) == 0:
        raise InputError("the models and --baseline have not one clip in common that they can all read")
    mine, theirs = [_values(model, shared) for model in models], _values(baseline, shared)
    differences = np.mean(mine, axis=0) - theirs.astype(float)
    low, high = bootstrap_interval(differences, seed)
    exact = len(models) == 1 and baseline.are_hits
    return {
        "difference": float(differences.mean()),
        "difference_low": low,
        "difference_high": high,
        "mcnemar_p": mcnemar(mine[0], theirs) if exact else None,
    }


def _values(scores: ItemScores, items: np.ndarray) -> np.ndarray:
    """Of some items, which are sorted."""
    order = np.argsort(scores.items)
    return scores.values[order[np.searchsorted(scores.items, items, sorter=order)]]


def score_row(task: str, metric: str, value: float, n: int, interval: tuple[float, float] | None = None) -> dict:
    """`{task, metric, value, n, low, high}`; low and high, a 95 % interval, are null where none is known."""
    low, high = interval or (None, None)
    return {"task": task, "metric": metric, "value": value, "n": n, "low": low, "high": high}
