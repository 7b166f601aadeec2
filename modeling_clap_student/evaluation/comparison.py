"""Scores of several models on the same clips, their means, and differences from a baseline."""

import statistics
from collections.abc import Sequence

from .retrieval import RetrievalResult
from .statistics import paired_difference
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
