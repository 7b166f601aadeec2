"""Which threshold gives pairs that are true as often as wanted? Estimated from similarities alone, without labels.

A pair is true if the clip holds what the class name nearest to the caption says. How likely that is, the teacher tells
itself: the contrastive loss makes exp(scale · cosine) proportional to how much likelier a caption is beside this clip
than beside any. So each clip's captions share a probability of 1, those of the corpus that were not selected too: they
are what else may be heard, and keep a clip that is near to everything from being near to something. What falls to the
selected captions of a class name is the probability of their pairs with that clip. Its mean over the pairs that reach
a threshold is their precision, one less the false discovery rate.

The assumption is that the teacher is as sure on the pool as it is right, with the scale that it learnt. Where that
fails: one that has overfitted, or hears other recordings than it learnt from, is too sure, and so is one whose text
tower confuses class names with other sounds, for what it takes for one it counts as one. The estimate is too low where
many captions say the same as the selected ones but were not selected, and where clips hold several events.

Sources: van den Oord et al. 2018, arXiv 1807.03748, section 2.3, for the ratio; Minderer et al. 2021, arXiv
2106.07998, find CLIP, which is trained in this way, calibrated; Efron 2008, Microarrays, Empirical Bayes and the
Two-Groups Model, Statistical Science 23(1), for the mean of local rates above a threshold.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError


AUTO = "auto"  # the threshold that asks for all this
POOL_SAMPLE = 4096  # clips
_BINS, _BLOCK = 4000, (256, 4096)  # over [-1, 1]; clips and captions at a time


@dataclass(frozen=True)
class PrecisionEstimate:
    """The share of true pairs among those at or above each threshold."""

    thresholds: np.ndarray  # (n,) float64, ascending; some pair reaches the last one
    precisions: np.ndarray  # (n,) float64, estimated; they never fall from one threshold to the next

    def loosest(self, precision: float) -> tuple[float, float]:
        """The lowest threshold whose estimated precision is at least this one, and its own; InputError for none."""
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
    """Estimates the precision of matches at every threshold; see above for how, and what it assumes.

    Args:
        pool: (clips, dim) unit vectors, array or whatever gives such when sliced; an even sample of the clips is read.
        captions: (captions, dim) unit vectors of all captions, each once.
        rows: (selected,) of the captions that are matched.
        labels: (selected,) index of the class name nearest to each.
        scale: what the teacher multiplies cosines by, exp(logit_scale).

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
        # Their sum in another order may be more than the whole by a rounding.
        probabilities = (shares @ is_label.T).clip(0, 1)
        places = ((similarities.ravel() + 1) * np.float32(_BINS / 2)).clip(0, _BINS - 1).astype(np.int64)
        counts += np.bincount(places, minlength=_BINS)
        true_counts += np.bincount(places, probabilities.ravel(), minlength=_BINS)
    above = np.cumsum(counts[::-1])[::-1]
    reached = above > 0
    precisions = (np.cumsum((rising_means(true_counts, counts) * counts)[::-1])[::-1])[reached] / above[reached]
    # Means of what never falls never fall, but for rounding.
    return PrecisionEstimate(np.linspace(-1, 1, _BINS + 1)[:-1][reached], np.maximum.accumulate(precisions).clip(0, 1))


def _total(clips: np.ndarray, captions: np.ndarray, scale: float) -> np.ndarray:
    """(clips,) sums of exp(scale · (cosine - 1)) over all captions."""
    blocks = range(0, len(captions), _BLOCK[1])
    parts = (clips @ captions[start : start + _BLOCK[1]].T for start in blocks)
    return sum(np.exp(scale * (part.astype(float) - 1)).sum(axis=1) for part in parts)


def rising_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The means of bins, nearest in squares, that never fall: neighbours that would fall are pooled.

    `sums` and `counts` are those of each bin's values; a bin without any gets a neighbour's mean. Source: isotonic
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
