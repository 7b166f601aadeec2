"""Scores of several models on the same clips, their means, and differences from a baseline."""

import statistics
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .retrieval import RetrievalResult
from .statistics import ItemScores, bootstrap_interval, mcnemar
from .zero_shot import ZeroShotResult
from .zste.result import ZsteResult


Result = ZeroShotResult | RetrievalResult | ZsteResult


def compare(results: dict[str, list[Result]], baseline: str | None = None, seed: int = 0) -> list[dict]:
    """All scores, row by row.

    Args:
        results: model -> its result on each task, the same tasks in the same order for all.
        baseline: one of the models, that the others are compared with.
        seed: of the bootstrap.

    Returns:
        rows of `{task, metric, value, n, low, high, model}`, task by task: the baseline's and the models'; then, of
        several models, `mean of N` with `deviation`, the sample's s.d. over them, and low and high null. Beside a
        baseline, scores that are a mean over items have `baseline`, `difference` on the items of both, its 95 %
        interval `difference_low`, `difference_high`, and `mcnemar_p`, null for what is neither right nor wrong. The
        mean's difference is that of each item's mean over the models.
    """
    rows = []
    for of_task in zip(*results.values(), strict=True):
        scored = dict(zip(results, of_task, strict=True))
        tables = {model: result.as_rows(seed) for model, result in scored.items()}
        models = [model for model in results if model != baseline]
        for model, table in tables.items():
            against = {} if baseline in (None, model) else _differences([scored[model]], scored[baseline], seed)
            rows += [row | {"model": model} | _named(against.get(row["metric"]), baseline) for row in table]
        if len(models) > 1:
            against = _differences([scored[m] for m in models], scored[baseline], seed) if baseline else {}
            for same in zip(*(tables[model] for model in models), strict=True):
                rows.append(_mean(same) | _named(against.get(same[0]["metric"]), baseline))
    return rows


def _named(difference: dict | None, baseline: str | None) -> dict:
    return {"baseline": baseline, **difference} if difference else {}


def _mean(rows: Sequence[dict]) -> dict:
    values = [row["value"] for row in rows]
    return rows[0] | {
        "value": statistics.mean(values),
        "n": min(row["n"] for row in rows),
        "low": None,
        "high": None,
        "model": f"mean of {len(rows)}",
        "deviation": statistics.stdev(values),
    }


def _differences(results: Sequence[Result], baseline: Result, seed: int) -> dict[str, dict]:
    """metric -> how far models, one or several pooled, are from the baseline on the items that all could read."""
    scores = [result.item_scores() for result in results]
    return {
        metric: paired_difference([of_model[metric] for of_model in scores], theirs, seed)
        for metric, theirs in baseline.item_scores().items()
    }


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
