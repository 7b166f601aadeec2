"""Metrics as `evaluate.Metric` classes that need no network."""

import datasets
import evaluate
import numpy as np


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


__all__ = ["Accuracy"]
