"""How right an answer is, ties told: the probability that it is right where equal scores are put in random order.

1 means right without any tie: where ties count as wrong, only that is right. With ties as shares, a model that can't
tell two candidates gets what guessing between them would.
"""

from functools import cache
from math import factorial

import numpy as np


_ROWS = 128  # whose texts are gathered at a time


def cosines(audio: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(n, dim), (k, dim) unit vectors -> (n, k) float32.

    Summed in float64, then rounded: of whatever order the library added in, nothing is left to make or break a tie.
    """
    return (audio.astype(np.float64) @ texts.T.astype(np.float64)).astype(np.float32)


def cosines_at(audio: np.ndarray, texts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(n, dim), (k, dim) unit vectors and (n, c) rows of the texts, each item's candidates -> (n, c) float32."""
    found = np.empty(numbers.shape, dtype=np.float32)
    for start in range(0, len(audio), _ROWS):
        some = slice(start, start + _ROWS)
        found[some] = np.einsum("nd,ncd->nc", audio[some], texts[numbers[some]], dtype=np.float64)
    return found


def choice(scores: np.ndarray, right: np.ndarray | int) -> np.ndarray:
    """Whether the best candidate is the right one.

    Args:
        scores: (n, candidates) float.
        right: (n,) int column of the right one, or one for all.

    Returns:
        (n,) float64 in [0, 1]: 1 / number tied where the right one is among the best.
    """
    right = np.broadcast_to(right, len(scores))
    own = np.take_along_axis(scores, right[:, None], axis=1)
    return np.where((scores > own).any(axis=1), 0.0, 1 / (scores == own).sum(axis=1))


def top_two(scores: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """Whether the two best candidates are the two right ones.

    Args:
        scores: (n, candidates) float.
        pair: (n, 2) int, two different columns.

    Returns:
        (n,) float64 in [0, 1].
    """
    own = np.take_along_axis(scores, pair, axis=1)
    lower = own.min(axis=1, keepdims=True)
    greater = (scores > lower).sum(axis=1)  # with the better one of the two, unless they are equal
    tied = (scores == lower).sum(axis=1)
    equal = own[:, 0] == own[:, 1]
    # Two places for all that tie at the top, or one place for those that tie for the second.
    share = np.where(equal, 2 / (tied * np.maximum(tied - 1, 1)), 1 / tied)
    return np.where(greater == np.where(equal, 0, 1), share, 0.0)


def recall_at_two(scores: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """Whether each of two right candidates is among the two best.

    Args:
        scores: (n, candidates) float.
        pair: (n, 2) int, two different columns.

    Returns:
        (n, 2) float64 in [0, 1].
    """
    own = np.take_along_axis(scores, pair, axis=1)[:, :, None]
    greater = (scores[:, None] > own).sum(axis=2)
    tied = (scores[:, None] == own).sum(axis=2)
    return np.clip(2 - greater, 0, tied) / tied


def matched(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether captions and clips of a group find each other.

    Args:
        scores: (n, m, m) float, of each clip (row) with each caption (column); the i-th belong together.

    Returns:
        three (n,) float64 in [0, 1]: every clip finds its caption (CompA's text score), every caption its clip (audio
        score), both (group score).

    Source: Ghosh et al. 2023, arXiv 2310.08753 (CompA), after Thrush et al. 2022, arXiv 2204.03162 (Winoground).
    """
    size = scores.shape[1]
    text = np.prod([choice(scores[:, i], i) for i in range(size)], axis=0)
    audio = np.prod([choice(scores[:, :, i], i) for i in range(size)], axis=0)
    group = text * audio
    # A tie of a row and one of a column may be the same: then the product is not the probability of both.
    for row in np.flatnonzero((group > 0) & (group < 1)):
        ranks = np.unique(scores[row], return_inverse=True)[1]
        group[row] = _group_share(tuple(ranks.ravel().tolist()), size)
    return text, audio, group


@cache
def _group_share(ranks: tuple[int, ...], size: int) -> float:
    """Of the orders that equal ranks leave open, those in which each diagonal entry comes after its row and column."""
    below = {
        i * (size + 1): {*range(i * size, (i + 1) * size), *range(i, size * size, size)} - {i * (size + 1)}
        for i in range(size)
    }

    @cache
    def orders(placed: frozenset[int], left: frozenset[int]) -> int:
        fitting = (cell for cell in left if below.get(cell, set()) <= placed)
        return sum(orders(placed | {cell}, left - {cell}) for cell in fitting) if left else 1

    share, placed = 1.0, frozenset()
    for rank in sorted(set(ranks)):
        tied = frozenset(cell for cell, other in enumerate(ranks) if other == rank)
        share *= orders(placed, tied) / factorial(len(tied))
        placed |= tied
    return share


__all__ = ["choice", "cosines", "cosines_at", "matched", "recall_at_two", "top_two"]
