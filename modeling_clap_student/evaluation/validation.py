"""How well a model in training does on labelled clips and on scenes, beside held-out pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from ..checkpoints.inference import for_inference
from ..data.benchmarks import Benchmark
from ..data.skipping import SkippedClips
from ..temporal.captions import BEFORE
from ..temporal.scenes import Scene, SceneRenderer
from ..training.validation import PairValidation
from .zero_shot import zero_shot
from .zste.evaluation import quick_scores


@dataclass(frozen=True)
class Validation(PairValidation):
    """What scores a model in training, for `ClapStudentTrainer(validation=…)`.

    Attributes:
        benchmark: labelled clips whose zero-shot accuracy is one more score, where that is to choose the checkpoint.
    """

    benchmark: Benchmark | None = None

    def __call__(self, model) -> dict[str, float]:
        """What `validate` returns, and `accuracy` with a benchmark."""
        scores = super().__call__(model)
        if self.benchmark is not None:
            scores["accuracy"] = zero_shot(for_inference(model), self.processor, self.benchmark, self.skipped).accuracy
        return scores

    def selects_by(self, metric: str) -> str:
        """For a model card: what chose the checkpoint."""
        if self.benchmark is not None and metric.endswith("accuracy"):
            return f"zero-shot accuracy on {self.benchmark.name}, which is therefore no unbiased estimate"
        return super().selects_by(metric)


@dataclass(frozen=True)
class TemporalValidation:
    """What scores a model, for `TemporalTrainer(validation=…)`.

    Attributes:
        processor: the model's own.
        singles: labelled clips that training does not hear.
        scenes: of these clips.
        renderer: makes their waveforms.
        skipped: where clips that can't be read are listed.
        connectives: the words for the order, a scene each in turn: those that training uses.
    """

    processor: object
    singles: Benchmark
    scenes: list[Scene]
    renderer: SceneRenderer
    skipped: SkippedClips
    connectives: Sequence[str] = (BEFORE,)

    def __call__(self, model) -> dict[str, float]:
        """`accuracy_1a` of single sounds, `order`, how often the right order of two beats the wrong one, and
        `selection`, √(accuracy_1a · max(0, order - ½)), all within [0, 1].

        Source of the last: Bagad et al. 2023 (TACT), arXiv 2301.02074, with accuracy in place of retrieval.
        """
        encoder = for_inference(model)
        scores = quick_scores(
            encoder,
            self.processor,
            self.scenes,
            self.renderer,
            self.singles,
            self.skipped,
            connectives=self.connectives,
        )
        better = max(0.0, scores["order"] - 0.5)
        return {**scores, "selection": sqrt(scores["accuracy_1a"] * better)}
