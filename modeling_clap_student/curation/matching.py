"""Which clips go with which captions: every pair at or above a cosine threshold, exactly, in bounded memory."""

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from .arguments import MAX_PAIRS, Threshold
from .similarity_scan import Pairs, SimilarityScan


@dataclass(frozen=True)
class Matches:
    """Pairs of a clip and a caption, ordered by clip, then caption.

    Attributes:
        clips, captions: (pairs,) int64 rows.
        similarities: (pairs,) float32 cosines.
        threshold: the cosine that decided; with `csls_neighbours` or `clip_offsets` the corrected one.
        highest: the highest of any pair, on the threshold's scale. If no pair reached the threshold, it may be up to
            0.01 too low.
    """

    clips: np.ndarray
    captions: np.ndarray
    similarities: np.ndarray
    threshold: float
    highest: float


def match(
    audio_embeds,
    text_embeds,
    threshold: Threshold,
    block_size: int | None = None,
    *,
    max_captions_per_clip: int | None = None,
    max_clips_per_caption: int | None = None,
    mutual_nearest: bool = False,
    csls_neighbours: int | None = None,
    clip_offsets: np.ndarray | None = None,
    max_pairs: int = MAX_PAIRS,
    device: str | None = None,
) -> Matches:
    """Finds the pairs: the same as brute force in float64, see `SimilarityScan`.

    The options restrict which pairs the threshold chooses from. Without them it chooses from all, as the paper does.
    Among equal similarities, the lower row counts as nearer.

    Args:
        audio_embeds, text_embeds: (clips, dim) and (captions, dim) unit vectors, compared as float32.
        threshold: on the cosine. A number or quantile also keeps all pairs as similar as the last one.
        block_size: clips and captions at a time.
        max_captions_per_clip, max_clips_per_caption: keep only pairs among this many nearest.
        mutual_nearest: sets both limits to 1.
        csls_neighbours: compare 2 cos - r(clip) - r(caption) instead of cosines, as float32; r is the mean cosine to
            this many nearest on the other side. A clip or caption that is near to everything then is near to nothing.
            The threshold and the limits are on that scale. 0 means as near as those neighbours.
        clip_offsets: (clips,) compare cos - offset(clip) instead of cosines, as float32. The threshold and the limits
            are on that scale.
        max_pairs: the most pairs; more are an error.
        device: where to compute; by default the GPU, if there is one.

    Raises:
        InputError: more than `max_pairs`; embeddings that don't go together.

    Source: Wang et al. 2023, arXiv 2305.01864, section 2.2.
    """
    settings = {"device": device, "block_size": block_size}
    audio, text = audio_embeds, text_embeds
    if csls_neighbours:
        audio, text = _corrected_for_hubs(audio, text, csls_neighbours, settings)
    elif clip_offsets is not None:
        audio, text = _corrected_by_clip(audio, text, clip_offsets)
    limits = (1, 1) if mutual_nearest else (max_captions_per_clip, max_clips_per_caption)
    if any(limits):
        pairs, floor, highest = _limited(audio, text, threshold, limits, settings)
        _check(len(pairs), len(audio), len(audio), max_pairs)
    elif threshold.value is None:
        number = threshold.number_of(len(audio) * len(text))
        pairs, floor, highest = _best(audio, text, number, max_pairs, settings)
    else:
        scan, floor = SimilarityScan(audio, text, **settings), threshold.value
        pairs, highest = _above(scan, floor, max_pairs), scan.highest
    cosines = pairs.similarities
    if isinstance(audio, Corrected):
        cosines = (cosines + audio.offsets[pairs.queries] + text.offsets[pairs.keys]) / audio.weight
    return Matches(pairs.queries, pairs.keys, cosines.astype(np.float32), float(floor), float(highest))


def match_by_label(audio_embeds, text_embeds, labels: np.ndarray, threshold: Threshold, **options) -> Matches:
    """Finds the pairs of each label's captions alone, so that no label takes the place of another.

    `labels` (captions,) are the labels that the captions were selected for. If the threshold is a number, each label
    with captions gets an equal share of it, rounded. A quantile, and the options of `match`, apply to each label's own
    pairs. The result has the lowest `threshold` and the highest `highest` of the labels.
    """
    present = np.unique(labels)
    if threshold.count is not None:
        threshold = Threshold(count=max(1, round(threshold.count / len(present))))
    parts, thresholds, highest = [], [], []
    for label in present:
        rows = np.flatnonzero(labels == label)
        matches = match(audio_embeds, text_embeds[rows], threshold, **options)
        parts.append(Pairs(matches.clips, rows[matches.captions], matches.similarities))
        thresholds.append(matches.threshold)
        highest.append(matches.highest)
    pairs = _in_order(Pairs.join(parts))
    return Matches(pairs.queries, pairs.keys, pairs.similarities, min(thresholds), max(highest))


def _in_order(pairs: Pairs) -> Pairs:
    return pairs[np.lexsort((pairs.keys, pairs.queries))]


def _above(scan: SimilarityScan, floor: float, max_pairs: int) -> Pairs:
    parts, clips = [], len(scan.queries)
    for number, pairs in enumerate(scan.pairs(floor), 1):
        _check(scan.count, min(number * scan.rows, clips), clips, max_pairs)
        parts.append(pairs)
    return Pairs.join(parts)


def _best(audio, text, number: int, max_pairs: int, settings: dict) -> tuple[Pairs, float, float]:
    """The best `number` pairs and their equals, the last one's similarity, the highest.

    A sample estimates the floor of the search. If it was too high, the search begins again with a lower one.
    """
    _check(number, len(audio), len(audio), max_pairs)
    histogram = similarity_histogram(audio, text)
    # With 64 pairs of the sample, one search is mostly enough.
    expected = max(2 * number, 64 * histogram.of_clips / histogram.clips)
    while True:
        scan = SimilarityScan(audio, text, **settings)
        best, parts = Pairs.join([]), []
        for pairs in scan.pairs(histogram.floor_for(expected), exact=True):
            parts.append(pairs)
            if sum(map(len, parts)) > number + 2**20:
                best, scan.floor = _keep_best([best, *parts], number, scan.floor, len(audio), max_pairs)
                parts = []
        best, floor = _keep_best([best, *parts], number, scan.floor, len(audio), max_pairs)
        if len(best) >= number:
            return best, floor, scan.highest
        expected *= 16


def _keep_best(parts: list[Pairs], number: int, floor: float, clips: int, max_pairs: int) -> tuple[Pairs, float]:
    """The best so far, and the similarity of the last one: the floor for further pairs."""
    pairs = Pairs.join(parts)
    if len(pairs) >= number:
        floor = np.partition(pairs.similarities, len(pairs) - number)[len(pairs) - number]
    pairs = pairs[pairs.similarities >= floor]
    _check(len(pairs), clips, clips, max_pairs)
    return pairs, floor


def _check(count: int, clips: int, of_clips: int, max_pairs: int) -> None:
    if count > max_pairs:
        raise InputError(
            f"{count} pairs in {clips} of {of_clips} clips, so about {count * of_clips // clips} in all: more than "
            f"max_pairs, {max_pairs}. Raise the threshold, set max_captions_per_clip, or raise max_pairs"
        )


def _limited(audio, text, threshold: Threshold, limits: tuple, settings: dict) -> tuple[Pairs, float, float]:
    """Pairs within the limits and the threshold, the floor, the highest similarity."""
    floor = -np.inf if threshold.value is None else threshold.value
    per_clip, per_caption = limits
    if per_clip:
        scan = SimilarityScan(audio, text, **settings)
        pairs = _nearest(scan, per_clip, floor)
    if per_caption:
        scan = SimilarityScan(text, audio, **settings)
        reverse = _nearest(scan, per_caption, floor)
        reverse = Pairs(reverse.keys, reverse.queries, reverse.similarities)
        if per_clip:
            numbers, reverse_numbers = (side.queries * len(text) + side.keys for side in (pairs, reverse))
            pairs = pairs[np.isin(numbers, reverse_numbers, assume_unique=True)]
        else:
            pairs = reverse
    if threshold.value is None and len(pairs):
        floor = threshold.resolve(pairs.similarities)
        pairs = pairs[pairs.similarities >= floor]
    return _in_order(pairs), floor, scan.highest


def _nearest(scan: SimilarityScan, count: int, floor: float = -np.inf) -> Pairs:
    """The `count` nearest keys of each query that reach the floor, by query, then the highest first, then by key."""
    parts = []
    for pairs in scan.pairs(floor, nearest=count, exact=True):
        pairs = pairs[np.lexsort((pairs.keys, -pairs.similarities, pairs.queries))]
        first = np.searchsorted(pairs.queries, pairs.queries)
        parts.append(pairs[np.arange(len(pairs)) - first < count])
    return Pairs.join(parts)


class Corrected:
    """Embeddings whose inner product is w cos - r(audio) - r(text). They are computed slice by slice.

    The product is [w a, -r(a), 1] · [t, 1, -r(t)]. So corrected cosines can be searched like plain ones.
    """

    def __init__(self, embeds, offsets: np.ndarray, weight: float | None = None):
        self.embeds, self.offsets, self.weight = embeds, offsets, weight  # texts have no weight

    def __len__(self) -> int:
        return len(self.embeds)

    def __getitem__(self, rows: slice) -> np.ndarray:
        embeds, offsets = _array(self.embeds[rows]), self.offsets[rows, None]
        ones = np.ones_like(offsets)
        if self.weight is None:
            return np.hstack([embeds, ones, -offsets])
        return np.hstack([self.weight * embeds, -offsets, ones])


def _corrected_for_hubs(audio, text, neighbours: int, settings: dict) -> tuple[Corrected, Corrected]:
    """CSLS: 2 cos - r(audio) - r(text), where r is the mean cosine to the nearest neighbours on the other side.

    Source: Conneau et al. 2018, Word Translation Without Parallel Data, arXiv 1710.04087, section 2.3.
    """
    if neighbours > min(len(audio), len(text)):
        raise InputError(f"{neighbours} neighbours of {len(audio)} clips and {len(text)} captions are too many")

    def means(queries, keys) -> np.ndarray:
        pairs = _nearest(SimilarityScan(queries, keys, **settings), neighbours)
        return pairs.similarities.reshape(-1, neighbours).mean(axis=1).astype(np.float32)

    return Corrected(audio, means(audio, text), 2), Corrected(text, means(text, audio))


def _corrected_by_clip(audio, text, offsets: np.ndarray) -> tuple[Corrected, Corrected]:
    """cos - offset(audio)."""
    return Corrected(audio, np.asarray(offsets, np.float32), 1), Corrected(text, np.zeros(len(text), np.float32))


def _array(embeds) -> np.ndarray:
    """An array, or a tensor on any device, as float32 on the CPU."""
    return np.asarray(embeds.cpu() if isinstance(embeds, torch.Tensor) else embeds, dtype=np.float32)


@dataclass(frozen=True)
class Histogram:
    """Counts of similarities in equal bins over [-1, 1]. Values outside are counted in the first and last bin."""

    counts: np.ndarray  # (bins,) int64
    clips: int  # evenly spaced ones, compared with all captions
    of_clips: int  # all

    @property
    def edges(self) -> np.ndarray:
        return np.linspace(-1, 1, len(self.counts) + 1)

    @property
    def facts(self) -> dict:
        """The report's facts: the histogram, and the number of clips if they are a sample."""
        is_sampled = self.clips < self.of_clips
        return {"histogram": (self.edges, self.counts), "sampled_clips": self.clips if is_sampled else None}

    def floor_for(self, number: float) -> float:
        """The highest edge with about `number` or more pairs of all clips above it; -inf if no inner edge has them."""
        above = np.cumsum(self.counts[::-1])[::-1] * (self.of_clips / self.clips)
        enough = np.flatnonzero(above >= number)
        return float(self.edges[enough[-1]]) if len(enough) and enough[-1] > 0 else -np.inf


def similarity_histogram(audio, text, bins: int = 4000, clips: int | None = 1024, block_size: int = 2048) -> Histogram:
    """Counts the float32 inner products of about this many clips, evenly spaced; None for all.

    Counting costs more than finding pairs, hence the sample.
    """
    step = 1 if clips is None else -(-len(audio) // clips)
    counts, num_clips = np.zeros(bins, np.int64), 0
    for start in range(0, len(audio), block_size * step):
        block = _array(audio[start : start + block_size * step : step])
        num_clips += len(block)
        for first in range(0, len(text), block_size):
            product = block @ _array(text[first : first + block_size]).T
            bin_numbers = ((product.ravel() + 1) * np.float32(bins / 2)).clip(0, bins - 1).astype(np.int64)
            counts += np.bincount(bin_numbers, minlength=bins)
    return Histogram(counts, num_clips, len(audio))
