"""Scores a model in training on labelled clips and on scenes, beside held-out pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from ..checkpoints.inference import for_inference
from ..data.benchmarks import Benchmark
from ..data.skipping import SkippedClips
from ..temporal.captions import FORWARD, REVERSE, scene_caption
from ..temporal.connectives import BEFORE
from ..temporal.scenes import Scene, SceneRenderer
from ..training.validation import PairValidation
from ..utils.console import say
from .zero_shot import Prompts, embed_classes, zero_shot
from .zste.evaluation import embed_scenes
from .zste.questions import hears_forward
from .zste.tasks import order_accuracy


@dataclass(frozen=True)
class Validation(PairValidation):
    """Scores a model in training, for `ClapStudentTrainer(validation=…)`."""

    benchmark: Benchmark | None = None  # labelled clips, if zero-shot accuracy selects the checkpoint

    def __call__(self, model) -> dict[str, float]:
        """The result of `validate`, and `accuracy` if there is a benchmark."""
        scores = super().__call__(model)
        if self.benchmark is not None:
            result = zero_shot(for_inference(model), self.processor, self.benchmark, self.skipped)
            if result.collapse:
                say(f"caution: {result.collapse}")
            scores["accuracy"] = result.accuracy
        return scores

    def selects_by(self, metric: str) -> str:
        """For a model card: the score that selected the checkpoint."""
        if self.benchmark is not None and metric.endswith("accuracy"):
            return f"zero-shot accuracy on {self.benchmark.name}, which is therefore no unbiased estimate"
        return super().selects_by(metric)


@dataclass(frozen=True)
class TemporalValidation:
    """Scores a model in training, for `TemporalTrainer(validation=…)`."""

    processor: object
    singles: Benchmark  # labelled clips that are not trained on
    scenes: list[Scene]  # of these clips
    renderer: SceneRenderer
    skipped: SkippedClips
    connectives: Sequence[str] = (BEFORE,)  # the words for order in training; scenes take them in turn

    def __call__(self, model) -> dict[str, float]:
        """`accuracy_1a`, on single sounds; `order`, how often the right order of two sounds beats the wrong one; and
        `selection`, √(accuracy_1a · max(0, order - ½)). All are within [0, 1].

        Source of `selection`: Bagad et al. 2023 (TACT), arXiv 2301.02074, with accuracy in place of retrieval.
        """
        encoder, listened = for_inference(model), (self.scenes, self.renderer, self.singles)
        scores = quick_scores(encoder, self.processor, *listened, self.skipped, self.connectives)
        better = max(0.0, scores["order"] - 0.5)
        return {**scores, "selection": sqrt(scores["accuracy_1a"] * better)}


def quick_scores(
    model,
    processor,
    scenes: Sequence[Scene],
    renderer: SceneRenderer,
    singles: Benchmark,
    skipped: SkippedClips,
    connectives: Sequence[str] = (BEFORE,),
) -> dict[str, float]:
    """Tasks 1A (`accuracy_1a`) and 3C (`order`) without controls. Each scene is heard in one order, half of them in
    each.

    All processes must call it together; each embeds its share. Guessing gives an order of 0.5; a model that ignores
    order gets less. The renderer has the processor's sampling rate. It keeps the clips that it has prepared.
    """
    was_training = model.training
    try:
        accuracy = zero_shot(model.eval(), processor, singles, skipped).accuracy
        forward = dict(zip((scene.id for scene in scenes), hears_forward(len(scenes)), strict=True))

        def render(scene: Scene) -> list[np.ndarray]:
            return [renderer.render(scene, FORWARD if forward[scene.id] else REVERSE)]

        (embeds,), rows = embed_scenes([(model, processor)], scenes, render, skipped, description="hearing order")
        readable = [scenes[row] for row in rows]
        captions = (
            [
                scene_caption(scene.class_a, scene.class_b, way, connectives[row % len(connectives)])
                for scene, row in zip(readable, rows, strict=True)
            ]
            for way in (FORWARD, REVERSE)
        )
        texts = [embed_classes(model, processor, names, Prompts()) for names in captions]
    finally:
        model.train(was_training)
    right = order_accuracy(embeds[:, 0], embeds[:, 0], *texts, np.array([forward[scene.id] for scene in readable]))
    return {"accuracy_1a": accuracy, "order": float(right.mean())}
