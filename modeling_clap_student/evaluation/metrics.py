"""Metrics as `evaluate.Metric` classes that need no network."""

import datasets
import evaluate
import numpy as np

from .retrieval import retrieval


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


__all__ = ["Accuracy", "Retrieval"]
