"""Which threshold gives pairs that are true as often as wanted? Estimated without labels of the pool.

A pair is true if the clip holds the event that the caption names; here, if clip and caption belong to one class name.
For captioned clips that is known: a clip belongs to the class name nearest to its caption. They tell how likely a pair
of some similarity is true *there*. In the pool true pairs may be rarer or more frequent: how many there are is what
makes the pool's similarities, of which every one is known, most likely.

The assumption: the similarities of true pairs are spread in the pool as among captioned clips, those of false pairs
likewise; only the share of true pairs differs. A teacher is surer of the clips that it was trained on than of others,
so that captioned clips it has not heard are better. That class names and captions which mean different things lie
apart is assumed too: what the teacher's text tower confuses, this confuses as well.

Sources: Saerens, Latinne and Decaestecker 2002, Adjusting the Outputs of a Classifier to New a Priori Probabilities,
Neural Computation 14(1), for the share; Zadrozny and Elkan 2002, Transforming Classifier Scores into Accurate
Multiclass Probability Estimates, KDD, for isotonic calibration; the precision is one less the false discovery rate
above the threshold, the mean of the local one: Efron 2008, Microarrays, Empirical Bayes and the Two-Groups Model.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .histogram import similarity_histogram


AUTO = "auto"  # the threshold that asks for all this

# Clips of the pool that are compared with all captions, and captioned clips of either kind that are worth embedding.
POOL_SAMPLE, CAPTIONED_SAMPLE = 4096, 1024


@dataclass(frozen=True)
class CaptionedClips:
    """A sample of captioned clips, from which true and false pairs are known.

    Attributes:
        fitting: (clips, dim) unit vectors of clips whose caption was selected.
        labels: (clips,) index of the class name nearest to that caption.
        others: (other clips, dim) of clips whose caption was not selected: no selected caption is true of them.
        others_weight: how many clips each of the others stands for, where each of the fitting stands for one.
    """

    fitting: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    others_weight: float = 1.0


@dataclass(frozen=True)
class PrecisionEstimate:
    """The share of true pairs among those at or above each threshold.

    Attributes:
        thresholds: (n,) float64, ascending; some pair reaches the last one.
        precisions: (n,) float64, estimated; they never fall from one threshold to the next.
        num_pairs: (n,) float64, about how many pairs of the pool reach the threshold.
    """

    thresholds: np.ndarray
    precisions: np.ndarray
    num_pairs: np.ndarray

    def loosest(self, wanted: float) -> tuple[float, float]:
        """The lowest threshold whose estimated precision is at least the wanted one, and that precision.

        Raises:
            InputError: none has it.
        """
        best = float(self.precisions[-1])
        found = int(np.searchsorted(self.precisions, min(wanted, best)))
        threshold, precision = float(self.thresholds[found]), float(self.precisions[found])
        if best < wanted:
            raise InputError(
                f"no threshold reaches an estimated precision of {wanted:.2f}: "
                f"the best is {precision:.3f}, from {threshold:.4f} on"
            )
        return threshold, precision


def estimate_precision(pool, captions, labels: np.ndarray, captioned: CaptionedClips) -> PrecisionEstimate:
    """Estimates the precision of a pool's matches at every threshold; see above for how, and what it assumes.

    Args:
        pool: (clips, dim) unit vectors, array or whatever gives such when sliced; a sample of the clips is read.
        captions: (captions, dim) unit vectors of the selected captions.
        labels: (captions,) index of the class name nearest to each.
        captioned: clips that belong to a class name or to none.

    Raises:
        InputError: there are no pairs in the pool, or no true or no false ones among the captioned.
    """
    if len(pool) == 0 or len(captions) == 0:
        raise InputError("the precision of no pairs can't be estimated")
    true, false = known_pairs(captions, labels, captioned)
    if not true.any() or not false.any():
        kind = "false" if true.any() else "true"
        raise InputError(
            f"the precision can't be estimated: there is no {kind} pair of a captioned clip and a selected caption"
        )
    sample = similarity_histogram(pool, captions, clips=POOL_SAMPLE)
    probabilities = with_share_of(sample.counts, *calibrate(true, false))
    above = np.cumsum(sample.counts[::-1])[::-1]
    reached = above > 0
    true_above = np.cumsum((probabilities * sample.counts)[::-1])[::-1]
    # Means of what never falls never fall, but for rounding.
    precisions = np.maximum.accumulate(true_above[reached] / above[reached]).clip(0, 1)
    scale = sample.of_clips / sample.clips
    return PrecisionEstimate(sample.edges[:-1][reached], precisions, scale * above[reached])


def known_pairs(captions, labels: np.ndarray, captioned: CaptionedClips) -> tuple[np.ndarray, np.ndarray]:
    """(bins,) float64 counts of the similarities of captioned clips and selected captions: true pairs, false pairs."""
    every = similarity_histogram(captioned.fitting, captions, clips=None).counts
    others = similarity_histogram(captioned.others, captions, clips=None).counts
    true = np.zeros_like(every)
    for label in np.unique(labels):
        clips, texts = captioned.fitting[captioned.labels == label], captions[labels == label]
        true += similarity_histogram(clips, texts, clips=None).counts
    # Products of other shapes are rounded otherwise, and may fall into the next bin.
    return true.astype(float), (every - true).clip(0) + captioned.others_weight * others


def calibrate(true: np.ndarray, false: np.ndarray) -> tuple[np.ndarray, float]:
    """How likely a pair is true by its similarity, where that is known: isotonic regression by pooling neighbours.

    Args:
        true: (bins,) counts of true pairs.
        false: (bins,) of false ones.

    Returns:
        (bins,) probabilities that never fall from bin to bin, and the share of true pairs in all.
    """
    blocks: list[list[float]] = []  # true pairs, pairs, bins
    for hits, misses in zip(true.tolist(), false.tolist(), strict=True):
        block = [hits, hits + misses, 1]
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            block = [a + b for a, b in zip(blocks.pop(), block, strict=True)]
        blocks.append(block)
    hits, pairs, bins = np.array(blocks).T
    return np.repeat(hits / np.maximum(pairs, 1e-300), bins.astype(int)), float(true.sum() / (true + false).sum())


def with_share_of(counts: np.ndarray, probabilities: np.ndarray, share: float) -> np.ndarray:
    """The probabilities for pairs of which another share is true: the most likely one, found by EM.

    Args:
        counts: (bins,) of the similarities there.
        probabilities: (bins,) that a pair is true, where `share` of all pairs are.

    Returns:
        (bins,) probabilities, as monotone as the given ones.
    """
    true, false = probabilities / share, (1 - probabilities) / (1 - share)
    current = share
    for _ in range(1000):
        corrected = current * true / (current * true + (1 - current) * false)
        before, current = current, float(corrected @ counts / counts.sum())
        if abs(current - before) < 1e-7:
            break
    return corrected


__all__ = ["AUTO", "CAPTIONED_SAMPLE", "CaptionedClips", "PrecisionEstimate", "estimate_precision"]
