"""Metrics of classification and retrieval, as subclasses of `evaluate.Metric`."""

from dataclasses import dataclass

import datasets
import evaluate
import numpy as np

from ..errors import InputError


DIRECTIONS = ("audio_to_text", "text_to_audio")
CUTOFFS = (1, 5, 10)  # k of R@k


@dataclass(frozen=True)
class QueryScores:
    """How one direction of retrieval went, query by query.

    Attributes:
        queries: (queries,) int, the row of each, ascending: of a clip, or of a text.
        best: (queries,) int, the rank of its first own item, from 1.
        average_precision: (queries,) float, AP@10.
    """

    queries: np.ndarray
    best: np.ndarray
    average_precision: np.ndarray

    @property
    def means(self) -> dict[str, np.ndarray]:
        """metric -> (queries,) what its value is the mean of: `R@1`, `R@5`, `R@10`, `mAP@10`."""
        return {**{f"R@{k}": self.best <= k for k in CUTOFFS}, "mAP@10": self.average_precision}


def retrieval(
    audio_embeds: np.ndarray, text_embeds: np.ndarray, clip_of_text: np.ndarray, chunk: int = 256
) -> dict[str, float]:
    """Ranks by cosine, in both directions; of equal cosines the lower row comes first.

    A clip may have any number of texts. Without one it is no query, but still stands among what a text may find. A
    text counts for its own clip alone: where two clips have the same text, only one of them can come first.

    R@k is the share of queries with something of their own among the first k. AP@10 is Σ i / rankᵢ over the query's
    own items of rank 10 or less, i counting them, divided by the number of all its own, and mAP@10 is its mean. The
    median rank is that of each query's first own item; ranks count from 1.

    Args:
        audio_embeds: (clips, dim) float32 unit vectors.
        text_embeds: (texts, dim) float32 unit vectors.
        clip_of_text: (texts,) int, the row of each text's clip.
        chunk: queries at a time; chunk × items of the other side are held in memory.

    Returns:
        `audio_to_text_R@1`, `_R@5`, `_R@10`, `_mAP@10`, all in [0, 1], and `_median_rank`; the same of
        `text_to_audio`.

    Raises:
        ValueError: shapes that don't go together, no text, or a text of a clip that is not there.
        InputError: an embedding that is not finite. All comparisons with it fail, so that it would come first.

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
    return {way: _by_query(*found) for way, found in zip(DIRECTIONS, pairs, strict=True)}


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
    """The rank, from 1, of each pair's item among all items for its query; pairs are rows of the two."""
    ranks = np.empty(len(query), dtype=np.int64)
    turned, rows = items.T.astype(np.float64), np.arange(len(items))
    order = np.argsort(query, kind="stable")  # pairs of one query stand together, and share its cosines
    for some in np.split(order, range(chunk, len(order), chunk)):
        distinct, place = np.unique(query[some], return_inverse=True)
        # Summed in float64, then rounded: of whatever order the library added in, nothing is left to break a tie.
        cosines = (queries[distinct] @ turned).astype(np.float32)[place]
        own_row = item[some, None]
        own = np.take_along_axis(cosines, own_row, axis=1)
        before = (cosines > own) | ((cosines == own) & (rows < own_row))
        ranks[some] = 1 + np.count_nonzero(before, axis=1)
    return ranks


def _by_query(ranks: np.ndarray, query: np.ndarray) -> QueryScores:
    """From the rank of each pair's item for its query."""
    order = np.lexsort((ranks, query))
    ranks = ranks[order]
    queries, first, count = np.unique(query[order], return_index=True, return_counts=True)
    number = 1 + np.arange(len(ranks)) - np.repeat(first, count)
    precision = np.where(ranks <= 10, number / ranks, 0.0)
    return QueryScores(queries, ranks[first], np.add.reduceat(precision, first) / count)


def _summary(scores: QueryScores) -> dict[str, float]:
    means = {name: float(np.mean(values)) for name, values in scores.means.items()}
    return {**means, "median_rank": float(np.median(scores.best))}


class Accuracy(evaluate.Metric):
    """The share of predictions that equal their reference, over all clips and for each class.

    >>> Accuracy().compute(predictions=[0, 1, 1], references=[0, 1, 0])["accuracy"]
    """

    def _info(self):
        return evaluate.MetricInfo(
            description="Share of predictions that equal their reference.",
            citation="",
            inputs_description="predictions and references: class numbers.",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions, references):
        predictions, references = np.asarray(predictions), np.asarray(references)
        correct = predictions == references
        return {
            "accuracy": float(correct.mean()),
            "class_accuracy": {int(c): float(correct[references == c].mean()) for c in np.unique(references)},
        }


class MacroAccuracy(Accuracy):
    """The mean of the classes' accuracies, so that a class of few clips counts as much as one of many.

    A class that no reference names has no accuracy and does not count.

    >>> MacroAccuracy().compute(predictions=[0, 0, 0, 0], references=[0, 0, 0, 1])["macro_accuracy"]  # 0.5
    """

    def _compute(self, predictions, references):
        by_class = super()._compute(predictions, references)["class_accuracy"]
        return {"macro_accuracy": float(np.mean(list(by_class.values())))}


class MeanAveragePrecision(evaluate.Metric):
    """The mean over the classes of the average precision of a class's scores: how early its clips come among all.

    AP is Σ (Rₖ − Rₖ₋₁) Pₖ over the distinct scores, P and R counting all items that score at least the k-th: items of
    equal score come together, so that their order does not matter. A class without a positive item has no average
    precision and does not count.

    Takes `predictions`, the scores of each item for all classes, and `references`: its class, or for several classes
    an item a list of 0 and 1.

    >>> MeanAveragePrecision().compute(predictions=[[0.9, 0.1], [0.8, 0.7]], references=[0, 1])["mAP"]  # 1.0

    Source: as scikit-learn's `average_precision_score`; Gemmeke et al. 2017 report AudioSet so.
    """

    def _info(self):
        scores = datasets.List(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description="Mean over the classes of the average precision of their scores.",
            citation="",
            inputs_description="predictions: (items, classes) scores; references: class numbers, or 0 and 1 a class.",
            features=[
                datasets.Features({"predictions": scores, "references": datasets.Value("int64")}),
                datasets.Features({"predictions": scores, "references": datasets.List(datasets.Value("int64"))}),
            ],
        )

    def _compute(self, predictions, references):
        scores, references = np.asarray(predictions), np.asarray(references)
        positive = references[:, None] == np.arange(scores.shape[1]) if references.ndim == 1 else references == 1
        if scores.ndim != 2 or positive.shape != scores.shape or not positive.any():
            raise ValueError(f"expected scores and positive items of one shape, got {scores.shape}, {positive.shape}")
        classes = np.flatnonzero(positive.any(axis=0))
        average = {int(c): average_precision(scores[:, c], positive[:, c]).item() for c in classes}
        return {"mAP": float(np.mean(list(average.values()))), "class_average_precision": average}


def average_precision(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Of one class's scores.

    Args:
        scores: (items,) of the class.
        positive: (items,) bool, whether an item is of the class.
        counts: (draws, items) int, how often each draw holds an item; every item once by default. Each draw holds as
            many positive items, at least one.

    Returns:
        (draws,) in [0, 1].
    """
    counts = np.ones((1, len(scores)), dtype=np.int64) if counts is None else counts
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of each group of equal scores
    before = np.cumsum(counts[:, order], axis=1)[:, last]
    found = np.cumsum(counts[:, order] * positive[order], axis=1)[:, last]
    precision = found / np.maximum(before, 1)
    return np.sum(np.diff(found, prepend=0, axis=1) * precision, axis=1) / found[:, -1]


class Retrieval(evaluate.Metric):
    """What `retrieval` finds in both directions: R@1, R@5, R@10, mAP@10 and the median rank.

    Texts and their clips may be added in batches; the clips are given at the end.

    >>> Retrieval().compute(text_embeds=texts, clip_of_text=[0, 0, 1], audio_embeds=clips)["text_to_audio_R@1"]
    """

    def _info(self):
        return evaluate.MetricInfo(
            description="How early clips find their captions among all, and captions their clips.",
            citation="",
            inputs_description="text_embeds, audio_embeds: unit vectors; clip_of_text: the row of each text's clip.",
            features=datasets.Features(
                {"text_embeds": datasets.List(datasets.Value("float32")), "clip_of_text": datasets.Value("int64")}
            ),
        )

    def _compute(self, text_embeds, clip_of_text, audio_embeds):
        text_embeds, audio_embeds = (np.asarray(embeds, dtype=np.float32) for embeds in (text_embeds, audio_embeds))
        return retrieval(audio_embeds, text_embeds, np.asarray(clip_of_text))
