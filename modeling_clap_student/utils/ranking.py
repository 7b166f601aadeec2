"""Retrieval between unit vectors of clips and of texts: at which rank each finds its own."""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError


DIRECTIONS = ("audio_to_text", "text_to_audio")
CUTOFFS = (1, 5, 10)  # k of R@k


@dataclass(frozen=True)
class QueryScores:
    """The result of one direction of retrieval, query by query.

    Attributes:
        queries: (queries,) int, ascending: the row of each query, a clip or a text.
        best: (queries,) int, the rank of its first own item, from 1.
        average_precision: (queries,) float, AP@10.
    """

    queries: np.ndarray
    best: np.ndarray
    average_precision: np.ndarray

    @property
    def means(self) -> dict[str, np.ndarray]:
        """Metric -> (queries,) values whose mean is the score: `R@1`, `R@5`, `R@10`, `mAP@10`."""
        return {**{f"R@{k}": self.best <= k for k in CUTOFFS}, "mAP@10": self.average_precision}


def retrieval(
    audio_embeds: np.ndarray, text_embeds: np.ndarray, clip_of_text: np.ndarray, chunk: int = 256
) -> dict[str, float]:
    """Ranks by cosine, in both directions. Among equal cosines, the lower row comes first.

    A clip may have any number of texts. A clip without text is no query, but is among the items that texts search. A
    text counts only for its own clip: if two clips have the same text, only one of them can come first.

    R@k is the share of queries with an own item among the first k. AP@10 is Σ i / rankᵢ over the query's own items of
    rank 10 or less, numbered by i, divided by the number of all its own items. mAP@10 is its mean. The median rank is
    that of each query's first own item. Ranks count from 1.

    Args:
        audio_embeds: (clips, dim) float32 unit vectors.
        text_embeds: (texts, dim) float32 unit vectors.
        clip_of_text: (texts,) int, the row of each text's clip.
        chunk: queries per block; chunk × items of the other side are in memory.

    Returns:
        `audio_to_text_R@1`, `_R@5`, `_R@10`, `_mAP@10`, all in [0, 1], and `_median_rank`; the same for
            `text_to_audio`.

    Raises:
        ValueError: shapes that do not fit together, no text, or a text of a missing clip.
        InputError: an embedding that is not finite. All comparisons with it fail, so it would come first.

    Source: Manning et al. 2008, Introduction to Information Retrieval, section 8.4; cut at 10: DCASE 2022, task 6b.
    """
    return {
        f"{way}_{name}": value
        for way, scores in retrieval_by_query(audio_embeds, text_embeds, clip_of_text, chunk).items()
        for name, value in _summary(scores).items()
    }


def retrieval_by_query(
    audio_embeds: np.ndarray, text_embeds: np.ndarray, clip_of_text: np.ndarray, chunk: int = 256
) -> dict[str, QueryScores]:
    """The same, query by query: `audio_to_text` and `text_to_audio`."""
    _check(audio_embeds, text_embeds, clip_of_text)
    texts = np.arange(len(text_embeds))
    pairs = (
        (_ranks(audio_embeds, text_embeds, clip_of_text, texts, chunk), clip_of_text),
        (_ranks(text_embeds, audio_embeds, texts, clip_of_text, chunk), texts),
    )
    return {way: _by_query(*rank_and_query) for way, rank_and_query in zip(DIRECTIONS, pairs, strict=True)}


def _check(audio_embeds: np.ndarray, text_embeds: np.ndarray, clip_of_text: np.ndarray) -> None:
    clips, texts = audio_embeds.shape, text_embeds.shape
    if len(clips) != 2 or len(texts) != 2 or clips[1] != texts[1] or clip_of_text.shape != texts[:1]:
        raise ValueError(
            f"expected (clips, dim), (texts, dim) and (texts,), got {clips}, {texts}, {clip_of_text.shape}"
        )
    if len(text_embeds) == 0 or clip_of_text.min() < 0 or clip_of_text.max() >= len(audio_embeds):
        raise ValueError(f"expected texts whose clips are rows 0 to {len(audio_embeds) - 1}, got {clip_of_text}")
    if not (np.isfinite(audio_embeds).all() and np.isfinite(text_embeds).all()):
        raise InputError("the model's embeddings are not all finite: its training has diverged; lower --learning_rate")


def _ranks(queries: np.ndarray, items: np.ndarray, query: np.ndarray, item: np.ndarray, chunk: int) -> np.ndarray:
    """The rank, from 1, of each pair's item among all items for its query. Pairs are rows of the two."""
    ranks = np.empty(len(query), dtype=np.int64)
    turned, rows = items.T.astype(np.float64), np.arange(len(items))
    order = np.argsort(query, kind="stable")  # pairs of one query are adjacent, and share its cosines
    for part in np.split(order, range(chunk, len(order), chunk)):
        distinct, place = np.unique(query[part], return_inverse=True)
        # Summed in float64, then rounded. So the library's order of summation can't break a tie.
        cosines = (queries[distinct] @ turned).astype(np.float32)[place]
        own_row = item[part, None]
        own = np.take_along_axis(cosines, own_row, axis=1)
        before = (cosines > own) | ((cosines == own) & (rows < own_row))
        ranks[part] = 1 + np.count_nonzero(before, axis=1)
    return ranks


def _by_query(ranks: np.ndarray, query: np.ndarray) -> QueryScores:
    """Scores by query, from the rank of each pair's item for its query."""
    order = np.lexsort((ranks, query))
    ranks = ranks[order]
    queries, first, count = np.unique(query[order], return_index=True, return_counts=True)
    number = 1 + np.arange(len(ranks)) - np.repeat(first, count)
    precision = np.where(ranks <= 10, number / ranks, 0.0)
    return QueryScores(queries, ranks[first], np.add.reduceat(precision, first) / count)


def _summary(scores: QueryScores) -> dict[str, float]:
    means = {name: float(np.mean(values)) for name, values in scores.means.items()}
    return {**means, "median_rank": float(np.median(scores.best))}
