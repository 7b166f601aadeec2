"""A score as `results.json` has it, and what it is the mean of."""

from dataclasses import dataclass

import numpy as np


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


def score_row(task: str, metric: str, value: float, n: int, interval: tuple[float, float] | None = None) -> dict:
    """`{task, metric, value, n, low, high}`; low and high, a 95 % interval, are null where none is known."""
    low, high = interval or (None, None)
    return {"task": task, "metric": metric, "value": value, "n": n, "low": low, "high": high}


__all__ = ["ItemScores", "score_row"]
