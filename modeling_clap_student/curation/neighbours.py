"""Nearest neighbours, exactly, and the correction for hubs that rests on them."""

import numpy as np

from ..errors import InputError
from .similarity_scan import Pairs, SimilarityScan


def nearest(scan: SimilarityScan, count: int, cut: float = -np.inf) -> Pairs:
    """The `count` nearest keys of each query that reach the cut, as float64 brute force finds them.

    Returns:
        pairs ordered by query, then similarity, the highest first; of equals the lower row comes first.
    """
    parts = []
    for pairs in scan.pairs(cut, nearest=count, exact=True):
        pairs = pairs[np.lexsort((pairs.keys, -pairs.similarities, pairs.queries))]
        first = np.searchsorted(pairs.queries, pairs.queries)
        parts.append(pairs[np.arange(len(pairs)) - first < count])
    return Pairs.join(parts)


class Corrected:
    """Embeddings whose inner product is 2 cos - r(audio) - r(text) (CSLS), made as they are sliced.

    With r the mean cosine to the nearest neighbours on the other side, [2a, -r(a), 1] · [t, 1, -r(t)] is just that, so
    that all that is done to cosines can be done to corrected ones.

    Args:
        embeds: (rows, dim) unit vectors.
        means: (rows,) r of each, float32.
        audio: which of the two sides this is.

    Source: Conneau et al. 2018, Word Translation Without Parallel Data, arXiv 1710.04087, section 2.3.
    """

    def __init__(self, embeds, means: np.ndarray, audio: bool):
        self.embeds, self.means, self.audio = embeds, means, audio

    def __len__(self) -> int:
        return len(self.embeds)

    def __getitem__(self, rows: slice) -> np.ndarray:
        embeds, means = np.asarray(self.embeds[rows], dtype=np.float32), self.means[rows, None]
        ones = np.ones_like(means)
        return np.hstack([2 * embeds, -means, ones] if self.audio else [embeds, ones, -means])


def corrected(audio, text, neighbours: int, **settings) -> tuple[Corrected, Corrected]:
    """Both sides for CSLS.

    Args:
        audio: (clips, dim) unit vectors.
        text: (captions, dim) unit vectors.
        neighbours: how many of the other side make a mean.
        settings: of `SimilarityScan`.

    Raises:
        InputError: more neighbours than there are.
    """
    if neighbours > min(len(audio), len(text)):
        raise InputError(f"{neighbours} neighbours of {len(audio)} clips and {len(text)} captions can't be had")
    return (
        Corrected(audio, _mean_to_nearest(audio, text, neighbours, settings), audio=True),
        Corrected(text, _mean_to_nearest(text, audio, neighbours, settings), audio=False),
    )


def _mean_to_nearest(queries, keys, neighbours: int, settings: dict) -> np.ndarray:
    """(queries,) float32."""
    pairs = nearest(SimilarityScan(queries, keys, **settings), neighbours)
    return pairs.similarities.reshape(-1, neighbours).mean(axis=1).astype(np.float32)


__all__ = ["Corrected", "corrected", "nearest"]
