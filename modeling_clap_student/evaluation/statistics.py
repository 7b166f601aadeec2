"""Scores with intervals, differences between models on the same clips, and tests of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist, mean, stdev

import numpy as np

from ..errors import InputError
from .metrics import average_precision


RESAMPLES = 10_000


def score_row(task: str, metric: str, value: float, n: int, interval: tuple[float, float] | None = None) -> dict:
    """`{task, metric, value, n, low, high}`. `low` and `high`, a 95 % interval, are null if it is not known."""
    low, high = interval or (None, None)
    return {"task": task, "metric": metric, "value": value, "n": n, "low": low, "high": high}


def mean_row(task: str, metric: str, values: np.ndarray, seed: int) -> dict:
    """A row for a mean: with Wilson's interval if values are right or wrong (bool), else with a bootstrap interval."""
    n = len(values)
    interval = wilson_interval(int(values.sum()), n) if values.dtype == bool else bootstrap_interval(values, seed)
    return score_row(task, metric, float(values.mean()), n, interval)


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion. It stays within [0, 1] and keeps its level for small n.

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
    """The bootstrap's percentile interval of a mean. For a paired difference, give each item's difference.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if len(values) == 0:
        raise ValueError("need at least one value")
    return _percentiles(resampled_means(values, np.random.default_rng(seed), resamples), confidence)


def resampled_means(values: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """(resamples,) means of resamples of the same size, drawn with replacement."""
    # A resample's mean depends only on how often it holds each distinct value, and distinct values are few.
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    n, at_once = len(values), max(1, 2**24 // len(distinct))
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate([rng.multinomial(n, counts / n, size=size) @ distinct / n for size in sizes])


def macro_interval(
    correct: np.ndarray, totals: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, confidence: float = 0.95
) -> tuple[float, float]:
    """The bootstrap's percentile interval of a mean of class accuracies. Clips are drawn class by class: of `totals`
    (classes,), at least 1 each, `correct` are right."""
    rng = np.random.default_rng(seed)
    hits = rng.binomial(totals, correct / totals, size=(resamples, len(totals)))
    return _percentiles((hits / totals).mean(axis=1), confidence)


def _percentiles(means: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def average_precision_interval(
    scores: np.ndarray, truth: np.ndarray, seed: int = 0, resamples: int = 200, confidence: float = 0.95
) -> tuple[float, float]:
    """The bootstrap's normal interval of the mean over the classes of their average precision, within [0, 1].

    Each class's items are drawn separately. The interval is a number of standard deviations of the resamples' means,
    for which few resamples are enough. Percentiles would be too high, because an item that is drawn twice finds
    itself. The resamples of a class with few items vary too little, so the interval is too narrow then. A resample
    costs one pass over all scores (items, classes).

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
    """The interval of a median between two of the values, for any distribution.

    The number of values below the median is distributed like the heads of n coins. So the median lies between the k-th
    value from below and the k-th from above with probability 1 - 2 P(heads < k). k is the largest number for which
    that is enough. With few values, the probability is below the wanted confidence.

    Source: Conover 1999, Practical Nonparametric Statistics, section 3.2.
    """
    ordered, n = np.sort(values), len(values)
    if n == 0:
        raise ValueError("need at least one value")
    k, term, below = 0, 1, 0  # term / 2ⁿ is P(heads = k), below / 2ⁿ is P(heads < k), in exact integers
    allowed = int((1 - confidence) / 2 * 2**53) * 2**n // 2**53
    while below + term <= allowed:
        below, term, k = below + term, term * (n - k) // (k + 1), k + 1
    k = max(k, 1)
    return float(ordered[k - 1]), float(ordered[n - k])


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided p of McNemar's exact test of whether two models are right equally often on the same clips.

    Only clips that exactly one of them gets right count. Each of two equally good models gets such a clip right with
    probability ½. If they never differ, p is 1.

    Source: McNemar 1947, Psychometrika 12; the exact form: Agresti 2013, Categorical Data Analysis, section 11.1.
    """
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"need the same clips, got {first.shape} and {second.shape}")
    mine, theirs = int((first & ~second).sum()), int((second & ~first).sum())
    differing = mine + theirs
    tail = sum(comb(differing, k) for k in range(min(mine, theirs) + 1))  # in exact integers
    return min(1.0, 2 * tail / 2**differing)


@dataclass(frozen=True)
class ItemScores:
    """Each item's contribution to a score that is a mean. Models are compared on the same items."""

    items: np.ndarray  # (n,) different ones: a clip's id, a text's number
    values: np.ndarray  # (n,) bool if items are only right or wrong, else float

    def values_of(self, items: np.ndarray) -> np.ndarray:
        """The values of some sorted items."""
        order = np.argsort(self.items)
        return self.values[order[np.searchsorted(self.items, items, sorter=order)]]


def paired_difference(models: Sequence[ItemScores], baseline: ItemScores, seed: int = 0) -> dict:
    """The mean of some models, item by item, against a baseline on the same items.

    Returns:
        `difference`, in the metric's unit; its 95 % interval `difference_low`, `difference_high` (bootstrap over
            items); `mcnemar_p` for a single model whose items are right or wrong, else null.
    """
    shared = baseline.items
    for model in models:
        shared = np.intersect1d(shared, model.items)
    if len(shared) == 0:
        raise InputError("the models and --baseline have not one clip in common that they can all read")
    mine, theirs = [model.values_of(shared) for model in models], baseline.values_of(shared)
    differences = np.mean(mine, axis=0) - theirs.astype(float)
    low, high = bootstrap_interval(differences, seed)
    exact = len(models) == 1 and theirs.dtype == bool
    return {
        "difference": float(differences.mean()),
        "difference_low": low,
        "difference_high": high,
        "mcnemar_p": mcnemar(mine[0], theirs) if exact else None,
    }


def compare(results: dict[str, list], baseline: str | None = None, seed: int = 0) -> list[dict]:
    """All scores, row by row.

    Args:
        results: model -> its result on each task, the same tasks in the same order for all.
        baseline: the model that the others are compared with.

    Returns:
        rows of `{task, metric, value, n, low, high, model}`, task by task: the baseline's and the models'. For several
            models, also `mean of N` with `deviation`, the sample's s.d. over them; its low and high are null. With a
            baseline, scores that are a mean over items also have `baseline`, `difference` on the common items, its 95
            % interval `difference_low`, `difference_high`, and `mcnemar_p`, which is null if items are not right or
            wrong. The mean's difference is computed from each item's mean over the models.
    """
    rows = []
    for task_results in zip(*results.values(), strict=True):
        scored = dict(zip(results, task_results, strict=True))
        tables = {model: result.as_rows(seed) for model, result in scored.items()}
        models = [model for model in results if model != baseline]
        for model, table in tables.items():
            differences = {} if model == baseline else _differences(scored, [model], baseline, seed)
            rows += [row | {"model": model} | differences.get(row["metric"], {}) for row in table]
        if len(models) > 1:
            differences = _differences(scored, models, baseline, seed)
            for same in zip(*(tables[model] for model in models), strict=True):
                rows.append(_mean(same) | differences.get(same[0]["metric"], {}))
    return rows


def _differences(scored: dict, models: list[str], baseline: str | None, seed: int) -> dict[str, dict]:
    """Metric -> the difference of the models, one or several pooled, from the baseline on the common readable
    items."""
    if baseline is None:
        return {}
    scores = [scored[model].item_scores() for model in models]
    return {
        metric: {"baseline": baseline, **paired_difference([items[metric] for items in scores], theirs, seed)}
        for metric, theirs in scored[baseline].item_scores().items()
    }


def _mean(rows: Sequence[dict]) -> dict:
    values = [row["value"] for row in rows]
    return rows[0] | {
        "value": mean(values),
        "n": min(row["n"] for row in rows),
        "low": None,
        "high": None,
        "model": f"mean of {len(rows)}",
        "deviation": stdev(values),
    }
