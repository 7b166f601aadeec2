"""Compares how sure a model is with how often it is right: the reliability curve of `classify`'s probabilities.

Source: Guo et al. 2017, arXiv 1706.04599.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState

from .plots import COLORS, chart
from .statistics import score_row, wilson_interval
from .zero_shot import ZeroShotResult


NUM_BINS = 10
_INCHES = (5.2, 4.6)


@dataclass(frozen=True)
class Reliability:
    """The curve of one model on one benchmark. Empty bins are left out.

    Attributes:
        confidence: (bins,) mean probability of the predicted class.
        accuracy: (bins,) share of the bin's clips whose prediction is right.
        counts: (bins,) int, clips.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean difference of the two, over the clips."""
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.counts))


def reliability(result: ZeroShotResult, num_bins: int = NUM_BINS) -> Reliability:
    """Sorts clips by their highest probability into bins of equal width."""
    highest = result.probabilities.max(axis=1)
    bins = np.minimum((highest * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    kept = counts > 0
    sums = (np.bincount(bins, weights, num_bins)[kept] for weights in (highest, result.correct))
    return Reliability(*(total / counts[kept] for total in sums), counts[kept])


def reliability_rows(results: Mapping[str, list]) -> list[dict]:
    """Rows for `results.json`, metric `ece`, for tasks with classes. `results`: model -> its result on each task."""
    return [
        score_row(result.task, "ece", reliability(result).error, result.n) | {"model": model}
        for model, of_tasks in results.items()
        for result in of_tasks
        if isinstance(result, ZeroShotResult)
    ]


def draw_reliability(results: Mapping[str, ZeroShotResult], path: Path | str) -> None:
    """Draws one benchmark's curves, one colour per model, with 95 % intervals. The diagonal is perfect calibration."""
    if not PartialState().is_main_process:
        return
    with chart(path, _INCHES, {}) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#8a8f98", linewidth=1, linestyle=(0, (4, 3)))
        for number, (model, result) in enumerate(results.items()):
            curve, color = reliability(result), COLORS[number % len(COLORS)]
            right = np.rint(curve.accuracy * curve.counts).astype(int)
            ends = np.array(
                [wilson_interval(k, n) for k, n in zip(right.tolist(), curve.counts.tolist(), strict=True)]
            ).T
            axes.errorbar(
                curve.confidence,
                curve.accuracy,
                np.abs(ends - curve.accuracy),
                marker="o",
                markersize=4,
                linewidth=1.5,
                elinewidth=0.8,
                color=color,
                label=f"{model}: off by {curve.error:.1%}",
            )
        axes.set(
            xlim=(0, 1), ylim=(0, 1), xlabel="probability of the class that was named", ylabel="share that is right"
        )
        axes.legend(loc="upper left", fontsize=8, frameon=False)
