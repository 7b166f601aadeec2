"""A cut on similarities: a value, a quantile, or whatever keeps a wanted number."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Threshold:
    """Exactly one of three ways to say how much to keep.

    A cosine threshold of one teacher means nothing for another, whose similarities are spread otherwise: hence the
    other two.

    Attributes:
        value: keep cosines of at least this.
        quantile: keep what lies at or above this quantile, in [0, 1]; 0.99 keeps the best hundredth.
        count: keep this many, the best.

    Raises:
        ValueError: none or several given, or one out of range.
    """

    value: float | None = None
    quantile: float | None = None
    count: int | None = None

    def __post_init__(self):
        given = [name for name in ("value", "quantile", "count") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of value, quantile and count, not {' and '.join(given) or 'none'}")
        if self.value is not None and not -1 <= self.value <= 1:
            raise ValueError(f"a cosine threshold must lie in [-1, 1], got {self.value}")
        if self.quantile is not None and not 0 <= self.quantile <= 1:
            raise ValueError(f"a quantile must lie in [0, 1], got {self.quantile}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"the number to keep must be at least 1, got {self.count}")

    def number_of(self, total: int) -> int | None:
        """How many of `total` to keep; None where the value decides."""
        if self.count is not None:
            return min(self.count, total)
        if self.quantile is not None:
            return max(1, round((1 - self.quantile) * total))
        return None

    def resolve(self, similarities: np.ndarray) -> np.float32:
        """The cosine, float32, at or above which to keep; equals at the cut are all kept."""
        number = self.number_of(similarities.size)
        if number is None:
            return np.float32(self.value)
        return np.partition(similarities.ravel(), similarities.size - number)[similarities.size - number]

    def __str__(self) -> str:
        if self.value is not None:
            return f"cosine >= {self.value}"
        if self.quantile is not None:
            return f"quantile {self.quantile}"
        return f"the best {self.count}"


__all__ = ["Threshold"]
