"""Metrics of classification and retrieval, as subclasses of `evaluate.Metric`."""

import datasets
import evaluate
import numpy as np

from ..utils.ranking import retrieval


def _describe(description: str, inputs: str, *columns: dict) -> evaluate.MetricInfo:
    """`columns`: the inputs of a metric, or several alternatives."""
    features = [datasets.Features(names) for names in columns]
    features = features if len(features) > 1 else features[0]
    return evaluate.MetricInfo(description=description, citation="", inputs_description=inputs, features=features)


def computed(metric: evaluate.Metric, **inputs) -> dict:
    """`metric.compute`, which always returns something in the main process."""
    scores = metric.compute(**inputs)
    assert scores is not None
    return scores


class Accuracy(evaluate.Metric):
    """The share of predictions that equal their reference, over all clips and for each class.

    >>> Accuracy().compute(predictions=[0, 1, 1], references=[0, 1, 0])["accuracy"]
    """

    def _info(self):
        return _describe(
            "Share of predictions that equal their reference.",
            "predictions and references: class numbers.",
            {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")},
        )

    def _compute(self, predictions, references):
        predictions, references = np.asarray(predictions), np.asarray(references)
        correct = predictions == references
        return {
            "accuracy": float(correct.mean()),
            "class_accuracy": {int(c): float(correct[references == c].mean()) for c in np.unique(references)},
        }


class MacroAccuracy(Accuracy):
    """The mean of the classes' accuracies, so a class with few clips counts as much as one with many.

    A class without a reference has no accuracy and does not count.

    >>> MacroAccuracy().compute(predictions=[0, 0, 0, 0], references=[0, 0, 0, 1])["macro_accuracy"]  # 0.5
    """

    def _compute(self, predictions, references):
        by_class = super()._compute(predictions, references)["class_accuracy"]
        return {"macro_accuracy": float(np.mean(list(by_class.values())))}


class MeanAveragePrecision(evaluate.Metric):
    """The mean over the classes of the average precision of a class's scores: how early its clips come in the ranking.

    AP is Σ (Rₖ − Rₖ₋₁) Pₖ over the distinct scores. P and R count all items that score at least the k-th. Items with
    equal scores are taken together, so their order does not matter. A class without a positive item has no average
    precision and does not count.

    Takes `predictions`, the scores of each item for all classes, and `references`: each item's class, or a list of 0
    and 1 for items with several classes.

    >>> MeanAveragePrecision().compute(predictions=[[0.9, 0.1], [0.8, 0.7]], references=[0, 1])["mAP"]  # 1.0

    Source: as scikit-learn's `average_precision_score`; Gemmeke et al. 2017 report AudioSet this way.
    """

    def _info(self):
        scores = datasets.List(datasets.Value("float64"))
        return _describe(
            "Mean over the classes of the average precision of their scores.",
            "predictions: (items, classes) scores; references: class numbers, or 0 and 1 a class.",
            {"predictions": scores, "references": datasets.Value("int64")},
            {"predictions": scores, "references": datasets.List(datasets.Value("int64"))},
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
    """(draws,) the average precision of one class's scores, in [0, 1]. scikit-learn's takes one draw at a time.

    Args:
        scores: (items,) of the class.
        positive: (items,) bool, whether an item is of the class.
        counts: (draws, items) int, how often each draw holds an item; by default every item once. All draws hold the
            same number of positive items, at least one.
    """
    counts = np.ones((1, len(scores)), dtype=np.int64) if counts is None else counts
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of each group of equal scores
    before = np.cumsum(counts[:, order], axis=1)[:, last]
    hits = np.cumsum(counts[:, order] * positive[order], axis=1)[:, last]
    precision = hits / np.maximum(before, 1)
    return np.sum(np.diff(hits, prepend=0, axis=1) * precision, axis=1) / hits[:, -1]


class Retrieval(evaluate.Metric):
    """The scores of `retrieval` in both directions: R@1, R@5, R@10, mAP@10 and the median rank.

    Texts and their clips may be added in batches; the clips are given at the end.

    >>> Retrieval().compute(text_embeds=texts, clip_of_text=[0, 0, 1], audio_embeds=clips)["text_to_audio_R@1"]
    """

    def _info(self):
        return _describe(
            "How early clips find their captions among all, and captions their clips.",
            "text_embeds, audio_embeds: unit vectors; clip_of_text: the row of each text's clip.",
            {"text_embeds": datasets.List(datasets.Value("float32")), "clip_of_text": datasets.Value("int64")},
        )

    def _compute(self, text_embeds, clip_of_text, audio_embeds):
        text_embeds, audio_embeds = (np.asarray(embeds, dtype=np.float32) for embeds in (text_embeds, audio_embeds))
        return retrieval(audio_embeds, text_embeds, np.asarray(clip_of_text))
