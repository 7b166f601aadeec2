"""The metrics, against scikit-learn where it has them, ties and absent classes included."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, recall_score

from modeling_clap_student.evaluation.metrics import Accuracy, MacroAccuracy, MeanAveragePrecision


def test_accuracy_by_class():
    """Guards against a class accuracy over predictions instead of references."""
    scores = Accuracy().compute(predictions=[0, 1, 1, 1], references=[0, 0, 1, 1])
    assert scores == {"accuracy": 0.75, "class_accuracy": {0: 0.5, 1: 1.0}}


def test_accuracy_is_scikit_learn_s():
    """Guards against a definition that only the example above bears out."""
    predictions, references = np.random.default_rng(0).integers(6, size=(2, 97))
    got = Accuracy().compute(predictions=predictions, references=references)
    assert got["accuracy"] == pytest.approx(accuracy_score(references, predictions), abs=1e-12)
    by_class = dict(enumerate(recall_score(references, predictions, average=None)))
    assert got["class_accuracy"] == pytest.approx(by_class, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("seed", range(3))
def test_macro_accuracy(seed):
    """Guards against a mean over clips, or over classes that are predicted but not there."""
    rng = np.random.default_rng(seed)
    references = rng.choice(5, size=60, p=[0.6, 0.2, 0.1, 0.1, 0.0])
    predictions = np.where(rng.random(60) < 0.5, references, rng.integers(5, size=60))
    expected = np.mean([np.mean(predictions[references == c] == c) for c in set(references.tolist())])
    got = MacroAccuracy().compute(predictions=predictions, references=references)
    assert got == {"macro_accuracy": pytest.approx(expected, abs=1e-12)}
    assert got["macro_accuracy"] == pytest.approx(balanced_accuracy_score(references, predictions), abs=1e-12)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_mean_average_precision(single, coarse):
    """Guards against an order among equal scores, and against classes without a clip that count as 0."""
    rng = np.random.default_rng(7)
    scores = rng.integers(4, size=(50, 6)) / 4 if coarse else rng.normal(size=(50, 6))
    classes = rng.integers(5, size=50)  # never the last
    multi = np.eye(6, dtype=int)[classes] if single else (rng.random((50, 6)) < 0.3).astype(int) * [1, 1, 1, 1, 1, 0]
    expected = {c: average_precision_score(multi[:, c], scores[:, c]) for c in range(5)}
    got = MeanAveragePrecision().compute(predictions=scores, references=classes if single else multi)
    assert got["class_average_precision"] == pytest.approx(expected, abs=1e-12)
    assert got["mAP"] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)


def test_average_precision_by_hand():
    """Guards against a definition that is only scikit-learn's: ranks 1 and 3 of three clips."""
    got = MeanAveragePrecision().compute(predictions=[[0.9], [0.5], [0.1]], references=[[1], [0], [1]])
    assert got["mAP"] == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_scores_of_other_classes_are_refused():
    """Guards against an average over columns that no reference speaks of."""
    with pytest.raises(ValueError, match="one shape"):
        MeanAveragePrecision().compute(predictions=[[0.5, 0.5]], references=[[1, 0, 0]])
    with pytest.raises(ValueError, match="one shape"):
        MeanAveragePrecision().compute(predictions=[[0.5, 0.5]], references=[[0, 0]])
