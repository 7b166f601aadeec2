"""How the similarities of all pairs are spread, from all clips or a sample of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Histogram:
    """Counts of similarities in equal bins over [-1, 1]; what lies outside is counted in the first and last.

    Attributes:
        counts: (bins,) int64.
        clips: how many clips were compared with all captions, evenly spaced.
        of_clips: how many there are.
    """

    counts: np.ndarray
    clips: int
    of_clips: int

    @property
    def edges(self) -> np.ndarray:
        """(bins + 1,) float64."""
        return np.linspace(-1, 1, len(self.counts) + 1)

    def cut_for(self, number: float) -> float:
        """The highest edge with about `number` pairs or more of all clips above it; -inf where no inner edge has."""
        above = np.cumsum(self.counts[::-1])[::-1] * (self.of_clips / self.clips)
        enough = np.flatnonzero(above >= number)
        return float(self.edges[enough[-1]]) if len(enough) and enough[-1] > 0 else -np.inf


def similarity_histogram(audio, text, bins: int = 4000, clips: int | None = 1024, block_size: int = 2048) -> Histogram:
    """Counts the inner products, as float32 gives them, in blocks.

    Counting costs more than the product that finds pairs: hence the sample.

    Args:
        audio: (clips, dim) array, or whatever gives such when sliced.
        text: (captions, dim) likewise.
        bins: over [-1, 1].
        clips: about how many, evenly spaced; None for all.
        block_size: captions at a time, and clips at a time where all are taken.
    """
    step = 1 if clips is None else -(-len(audio) // clips)
    counts, taken = np.zeros(bins, np.int64), 0
    for start in range(0, len(audio), block_size * step):
        some = np.asarray(audio[start : start + block_size * step : step], dtype=np.float32)
        taken += len(some)
        for first in range(0, len(text), block_size):
            product = some @ np.asarray(text[first : first + block_size], dtype=np.float32).T
            places = ((product.ravel() + 1) * np.float32(bins / 2)).clip(0, bins - 1).astype(np.int64)
            counts += np.bincount(places, minlength=bins)
    return Histogram(counts, taken, len(audio))


__all__ = ["Histogram", "similarity_histogram"]
