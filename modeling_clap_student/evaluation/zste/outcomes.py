"""How one question went, scene by scene, and what guessing or deafness to order would come to."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """One metric's items, before it is said what a tie counts.

    Attributes:
        shares: (items, parts) float64 in [0, 1], how right each part of an item is, where ties are broken at random;
            an item's value is the mean of its parts.
        chance: the value that random embeddings come to.
        order_blind: the value of a model that can't tell `forward` from `reverse` and is perfect but for that; None
            where it is not known.
        minus: (items, parts), shares that are taken off, of a metric that is a difference.
        rows: (items,) int, the scenes the items are of; None where they are all scenes, in their order.
    """

    shares: np.ndarray
    chance: float
    order_blind: float | None
    minus: np.ndarray | None = None
    rows: np.ndarray | None = None

    def values(self, share_ties: bool = False) -> np.ndarray:
        """(items,) bool where an item is right or wrong and nothing between, else float64.

        Args:
            share_ties: whether a tie counts as the probability to guess right among those tied; else as wrong.
        """
        values = _means(self.shares, share_ties)
        return values if self.minus is None else values.astype(float) - _means(self.minus, share_ties)

    def select(self, scenes: np.ndarray) -> "Outcome":
        """Of the scenes of which a mask, (scenes,) bool, is true."""
        kept = scenes if self.rows is None else scenes[self.rows]
        minus = None if self.minus is None else self.minus[kept]
        rows = None if self.rows is None else self.rows[kept]
        return Outcome(self.shares[kept], self.chance, self.order_blind, minus, rows)


def _means(shares: np.ndarray, share_ties: bool) -> np.ndarray:
    right = shares if share_ties else shares == 1
    if right.shape[1] == 1:
        right = right[:, 0]
        return right == 1 if np.isin(right, (0, 1)).all() else right
    return right.mean(axis=1)


def outcome(shares: np.ndarray, chance: float, order_blind: float | None = 1.0, **others) -> Outcome:
    """An `Outcome` of (items,) or (items, parts) shares."""
    return Outcome(shares if shares.ndim == 2 else shares[:, None], float(chance), order_blind, **others)


__all__ = ["Outcome", "outcome"]
