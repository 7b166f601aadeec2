"""Zero-shot classification: the class whose prompt lies nearest to the clip."""

from dataclasses import dataclass

import numpy as np

from ..curation.selection import PROMPT, label_prompts
from ..data.benchmarks import Benchmark
from ..data.skipping import SkippedClips
from ..embedding import embed_clips, embed_texts
from .metrics import Accuracy
from .statistics import wilson_interval


@dataclass(frozen=True)
class ZeroShotResult:
    """One model on one benchmark.

    Attributes:
        task: the benchmark's name.
        accuracy: share of the clips put in their class, in [0, 1].
        low, high: its 95 % interval (Wilson).
        num_clips: clips that could be read, of which the accuracy speaks.
        class_accuracy: accuracy of each class.
        predictions: class name of each row, None for a clip that could not be read.
    """

    task: str
    accuracy: float
    low: float
    high: float
    num_clips: int
    class_accuracy: dict[str, float]
    predictions: list[str | None]

    def as_row(self) -> dict:
        """`{task, metric, value, n, low, high}`."""
        return {
            "task": self.task,
            "metric": "accuracy",
            "value": self.accuracy,
            "n": self.num_clips,
            "low": self.low,
            "high": self.high,
        }


def zero_shot(model, processor, benchmark: Benchmark, skipped: SkippedClips, batch_size: int = 32) -> ZeroShotResult:
    """Classifies a benchmark's clips by argmax over cos(clip, "this is a sound of " + class). Ties: the first class.

    Source: Wang et al. 2023, arXiv 2305.01864, section 3.
    """
    names = benchmark.class_names
    labels = embed_texts(model, processor, label_prompts(names, PROMPT))
    clips, rows = embed_clips(
        model, processor, benchmark.clips, skipped, batch_size, description=f"evaluating on {benchmark.name}"
    )
    predicted = (clips @ labels.T).argmax(axis=1)
    truth = np.array([names.index(label) for label in np.array(benchmark.clips["label"])[rows]])
    scores = Accuracy().compute(predictions=predicted, references=truth)
    predictions: list[str | None] = [None] * len(benchmark.clips)
    for row, number in zip(rows, predicted, strict=True):
        predictions[row] = names[number]
    low, high = wilson_interval(int((predicted == truth).sum()), len(truth))
    by_class = {names[number]: value for number, value in scores["class_accuracy"].items()}
    return ZeroShotResult(benchmark.name, scores["accuracy"], low, high, len(truth), by_class, predictions)


__all__ = ["ZeroShotResult", "zero_shot"]
