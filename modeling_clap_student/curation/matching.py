"""Which clips go with which captions: every pair at or above a cosine threshold, exactly, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .arguments import MAX_PAIRS, Threshold
from .similarity_scan import Pairs, SimilarityScan


# 20 bytes a pair: a gigabyte.


@dataclass(frozen=True)
class Matches:
    """Pairs of a clip and a caption, ordered by clip, then caption.

    Attributes:
        clips: (pairs,) int64 rows of the clips.
        captions: (pairs,) int64 rows of the captions.
        similarities: (pairs,) float32 cosines.
        threshold: the cosine, or with `csls_neighbours` the corrected one, that decided.
        highest: the highest of any pair, on the threshold's scale; if none was kept, perhaps 0.01 less than that.
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
    max_pairs: int = MAX_PAIRS,
    device: str | None = None,
) -> Matches:
    """Finds the pairs: the same as brute force in float64, see `SimilarityScan`.

    The options restrict which pairs the threshold chooses from; without them it chooses from all, as the paper does.
    Of equal similarities the lower row is nearer.

    Args:
        audio_embeds: (clips, dim) unit vectors, array or tensor; compared as float32.
        text_embeds: (captions, dim) unit vectors.
        threshold: on the cosine; by number or quantile, pairs as similar as the last one are kept too.
        block_size: clips and captions at a time.
        max_captions_per_clip: only pairs whose caption is among this many nearest of the clip.
        max_clips_per_caption: only pairs whose clip is among this many nearest of the caption.
        mutual_nearest: only pairs of which each is the other's nearest: both limits at one.
        csls_neighbours: compare 2 cos - r(clip) - r(caption) instead of cosines, with r the mean cosine to this many
            nearest on the other side, as float32: what is near to everything is then near to nothing. The threshold
            and the limits are on that scale, on which 0 is a pair as near as those neighbours.
        max_pairs: more than these are refused.
        device: where to compute; by default the GPU if there is one.

    Raises:
        InputError: more than `max_pairs`; embeddings that don't go together.

    Source: Wang et al. 2023, arXiv 2305.01864, section 2.2.
    """
    settings = {"device": device, "block_size": block_size}
    audio, text = audio_embeds, text_embeds
    if csls_neighbours:
        audio, text = corrected(audio, text, csls_neighbours, **settings)
    limits = (1, 1) if mutual_nearest else (max_captions_per_clip, max_clips_per_caption)
    if any(limits):
        found, cut, highest = _limited(audio, text, threshold, limits, settings)
        _check(len(found), len(audio), len(audio), max_pairs)
    elif threshold.value is None:
        found, cut, highest = _best(audio, text, threshold.number_of(len(audio) * len(text)), max_pairs, settings)
    else:
        scan, cut = SimilarityScan(audio, text, **settings), threshold.value
        found = Pairs.join(list(_checked(scan.pairs(cut), scan, max_pairs)))
        highest = scan.highest
    if any(limits):
        found = found[np.lexsort((found.keys, found.queries))]
    cosines = found.similarities
    if csls_neighbours:
        cosines = (cosines + audio.means[found.queries] + text.means[found.keys]) / 2
    return Matches(found.queries, found.keys, cosines.astype(np.float32), float(cut), float(highest))


def match_by_label(audio_embeds, text_embeds, labels: np.ndarray, threshold: Threshold, **options) -> Matches:
    """Finds the pairs of each label's captions alone, so that no label takes the place of another.

    Args:
        audio_embeds, text_embeds: as for `match`.
        labels: (captions,) the label that each caption was selected for.
        threshold: of a number, each label with captions gets the same share, rounded; a quantile is that of a label's
            own pairs.
        options: of `match`; they too hold for each label alone.

    Returns:
        all of them; `threshold` is the lowest of the labels', `highest` the highest.
    """
    present = np.unique(labels)
    if threshold.count is not None:
        threshold = Threshold(count=max(1, round(threshold.count / len(present))))
    rows = [np.flatnonzero(labels == label) for label in present]
    found = [match(audio_embeds, text_embeds[of_label], threshold, **options) for of_label in rows]
    clips = np.concatenate([of_label.clips for of_label in found])
    captions = np.concatenate([indices[matches.captions] for indices, matches in zip(rows, found, strict=True)])
    order = np.lexsort((captions, clips))
    return Matches(
        clips[order],
        captions[order],
        np.concatenate([of_label.similarities for of_label in found])[order],
        min(of_label.threshold for of_label in found),
        max(of_label.highest for of_label in found),
    )


def _limited(audio, text, threshold: Threshold, limits: tuple, settings: dict) -> tuple[Pairs, float, float]:
    """Pairs within the limits and the threshold, the cut, the highest similarity."""
    floor = -np.inf if threshold.value is None else threshold.value
    per_clip, per_caption = limits
    if per_clip:
        scan = SimilarityScan(audio, text, **settings)
        found = nearest(scan, per_clip, floor)
    if per_caption:
        scan = SimilarityScan(text, audio, **settings)
        turned = nearest(scan, per_caption, floor)
        turned = Pairs(turned.keys, turned.queries, turned.similarities)
        found = _common(found, turned, len(text)) if per_clip else turned
    if threshold.value is not None or len(found) == 0:
        return found, floor, scan.highest
    cut = threshold.resolve(found.similarities)
    return found[found.similarities >= cut], cut, scan.highest


def _common(pairs: Pairs, others: Pairs, num_keys: int) -> Pairs:
    numbers, their_numbers = (some.queries * num_keys + some.keys for some in (pairs, others))
    return pairs[np.isin(numbers, their_numbers, assume_unique=True)]


def _best(audio, text, number: int, max_pairs: int, settings: dict) -> tuple[Pairs, float, float]:
    """The best `number` pairs and their equals, the cut, the highest similarity.

    A sample tells from where to look; if that was too high, from lower.
    """
    _check(number, len(audio), len(audio), max_pairs)
    histogram = similarity_histogram(audio, text)
    # 64 pairs of the sample are enough not to look twice, most of the time.
    wanted = max(2 * number, 64 * histogram.of_clips / histogram.clips)
    while True:
        scan = SimilarityScan(audio, text, **settings)
        found, cut = _running_best(scan, number, histogram.cut_for(wanted), max_pairs)
        if len(found) >= number:
            return found, cut, scan.highest
        wanted *= 16


def _running_best(scan: SimilarityScan, number: int, cut: float, max_pairs: int) -> tuple[Pairs, float]:
    """The best `number` of the pairs that reach the cut, and the last one's similarity; fewer if there are no more."""
    best, waiting = Pairs.join([]), []
    for pairs in scan.pairs(cut, exact=True):
        waiting.append(pairs)
        if sum(map(len, waiting)) > number + 2**20:
            # The best so far bound the cut from below.
            best, scan.cut = _keep_best([best, *waiting], number, scan.cut)
            waiting = []
            _check(len(best), len(scan.queries), len(scan.queries), max_pairs)
    best, cut = _keep_best([best, *waiting], number, scan.cut)
    _check(len(best), len(scan.queries), len(scan.queries), max_pairs)
    return best, cut


def _keep_best(parts: list[Pairs], number: int, cut: float) -> tuple[Pairs, float]:
    found = Pairs.join(parts)
    if len(found) >= number:
        cut = np.partition(found.similarities, len(found) - number)[len(found) - number]
    return found[found.similarities >= cut], cut


def _checked(parts: Iterator[Pairs], scan: SimilarityScan, max_pairs: int) -> Iterator[Pairs]:
    done = 0
    for pairs in parts:
        done += scan.rows
        _check(scan.found, min(done, len(scan.queries)), len(scan.queries), max_pairs)
        yield pairs


def _check(count: int, clips: int, of_clips: int, max_pairs: int) -> None:
    if count > max_pairs:
        raise InputError(
            f"{count} pairs of {clips} of the {of_clips} clips, about {count * of_clips // clips} in all, "
            f"more than max_pairs, {max_pairs}: raise the threshold, set max_captions_per_clip, or raise max_pairs"
        )


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
