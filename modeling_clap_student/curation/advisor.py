"""Estimates, without labels, the threshold that gives pairs with a wanted share of true ones.

A pair is true if the clip holds the sound of the class name nearest to the caption. The teacher itself estimates how
likely that is. The contrastive loss makes exp(scale · cosine) proportional to how much likelier a caption is beside
this clip than beside any clip. So all captions share a probability of 1 for each clip, including captions of the
corpus that were not selected. Those stand for other sounds, so a clip that is near to everything is not near to one
class. The sum over a class name's selected captions is the probability of their pairs with that clip. The mean over
the pairs that reach a threshold is their precision: 1 minus the false discovery rate.

This assumes that the teacher is as sure on the pool as it is right, with the scale that it learnt. That fails in three
cases. A teacher that has overfitted, or hears recordings unlike its training data, is too sure. So is one whose text
tower confuses class names with other sounds: it counts both as one. And the estimate is too low where many captions
mean the same as the selected ones but were not selected, or where clips hold several events.

Sources: van den Oord et al. 2018, arXiv 1807.03748, section 2.3, for the ratio; Minderer et al. 2021, arXiv
2106.07998, who find that CLIP, trained in the same way, is calibrated; Efron 2008, Microarrays, Empirical Bayes and
the Two-Groups Model, Statistical Science 23(1), for the mean of local rates above a threshold.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError


AUTO = "auto"  # the threshold that asks for this estimate
POOL_SAMPLE = 4096  # clips
_BINS, _BLOCK = 4000, (256, 4096)  # over [-1, 1]; clips and captions at a time


@dataclass(frozen=True)
class PrecisionEstimate:
    """The share of true pairs among those at or above each threshold."""

    thresholds: np.ndarray  # (n,) float64, ascending; at least one pair reaches the last
    precisions: np.ndarray  # (n,) float64, estimated; they never decrease

    def loosest(self, precision: float) -> tuple[float, float]:
        """The lowest threshold with at least this estimated precision, and its precision. An InputError if none has
        it."""
        best = float(self.precisions[-1])
        index = int(np.searchsorted(self.precisions, min(precision, best)))
        threshold, estimate = float(self.thresholds[index]), float(self.precisions[index])
        if estimate < precision:
            raise InputError(
                f"no threshold reaches an estimated precision of {precision:g}: "
                f"the best is {estimate:.3f}, at {threshold:.4f}"
            )
        return threshold, estimate


def estimate_precision(pool, captions, rows: np.ndarray, labels: np.ndarray, scale: float) -> PrecisionEstimate:
    """Estimates the precision of matches at every threshold. The module says how, and with which assumptions.

    Args:
        pool: (clips, dim) unit vectors, as an array or anything that can be sliced into arrays; evenly spaced clips
        are read.
        captions: (captions, dim) unit vectors of all captions, each once.
        rows: (selected,) the captions that are matched.
        labels: (selected,) index of the class name nearest to each caption.
        scale: the factor of the teacher's cosines, exp(logit_scale).

    Raises:
        InputError: there are no pairs.
    """
    if len(pool) == 0 or len(rows) == 0:
        raise InputError("the precision can't be estimated: there are no pairs")
    counts, true_counts = np.zeros(_BINS), np.zeros(_BINS)
    is_label = (labels[:, None] == np.unique(labels)).astype(float)
    texts = np.asarray(captions, dtype=np.float32)
    selected = texts[rows]
    step = -(-len(pool) // POOL_SAMPLE)
    for start in range(0, len(pool), _BLOCK[0] * step):
        clips = np.asarray(pool[start : start + _BLOCK[0] * step : step], dtype=np.float32)
        similarities = clips @ selected.T
        shares = np.exp(scale * (similarities.astype(float) - 1)) @ is_label / _total(clips, texts, scale)[:, None]
        # Rounding in another order of summation may make their sum exceed the whole.
        probabilities = (shares @ is_label.T).clip(0, 1)
        places = ((similarities.ravel() + 1) * np.float32(_BINS / 2)).clip(0, _BINS - 1).astype(np.int64)
        counts += np.bincount(places, minlength=_BINS)
        true_counts += np.bincount(places, probabilities.ravel(), minlength=_BINS)
    above = np.cumsum(counts[::-1])[::-1]
    reached = above > 0
    precisions = (np.cumsum((rising_means(true_counts, counts) * counts)[::-1])[::-1])[reached] / above[reached]
    # Means of values that never decrease don't decrease either, except by rounding.
    return PrecisionEstimate(np.linspace(-1, 1, _BINS + 1)[:-1][reached], np.maximum.accumulate(precisions).clip(0, 1))


def _total(clips: np.ndarray, captions: np.ndarray, scale: float) -> np.ndarray:
    """(clips,) sums of exp(scale · (cosine - 1)) over all captions."""
    blocks = range(0, len(captions), _BLOCK[1])
    parts = (clips @ captions[start : start + _BLOCK[1]].T for start in blocks)
    return sum(np.exp(scale * (part.astype(float) - 1)).sum(axis=1) for part in parts)


def rising_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of bins that never decrease, closest in squares. Neighbours that would decrease are pooled.

    `sums` and `counts` describe the values of each bin. An empty bin gets a neighbour's mean. Source: isotonic
    regression, Ayer et al. 1955, Annals of Mathematical Statistics 26(4).
    """
    blocks: list[tuple[float, float, int]] = []  # sum, count, bins
    for total, count in zip(sums.tolist(), counts.tolist(), strict=True):
        bins = 1
        while blocks and blocks[-1][0] * count >= total * blocks[-1][1]:
            before = blocks.pop()
            total, count, bins = total + before[0], count + before[1], bins + before[2]
        blocks.append((total, count, bins))
    totals, numbers, bins = np.array(blocks).T
    return np.repeat(totals / np.maximum(numbers, 1), bins.astype(int))
