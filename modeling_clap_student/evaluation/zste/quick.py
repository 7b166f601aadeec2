"""Two scores of ZSTE that choose a checkpoint in training: single sounds, and their order."""

from collections.abc import Sequence

import numpy as np

from ...data.benchmarks import Benchmark
from ...data.skipping import SkippedClips
from ...temporal.captions import BEFORE, FORWARD, REVERSE, scene_caption
from ...temporal.scenes import Scene, SceneRenderer
from ..prompts import Prompts, embed_classes
from ..zero_shot import zero_shot
from .embed import embed_scenes
from .questions import hears_forward
from .tasks import order_accuracy


def quick_scores(
    model,
    processor,
    scenes: Sequence[Scene],
    renderer: SceneRenderer,
    singles: Benchmark,
    skipped: SkippedClips,
    batch_size: int = 32,
    prompts: Prompts | None = None,
    connectives: Sequence[str] = (BEFORE,),
) -> dict[str, float]:
    """Tasks 1A and 3C without controls: each scene is heard in one order, half of them in each.

    All processes must call alike; each embeds its share.

    Args:
        model, processor, skipped, batch_size: as for `embed_clips`; the model on its device.
        scenes: the same each time.
        renderer: of the processor's sampling rate; it keeps the clips that it has prepared.
        singles: labelled clips, each heard once.
        prompts: what stands for classes and captions; "this is a sound of " + them by default.
        connectives: the words for the order, a scene each in turn.

    Returns:
        `accuracy_1a` and `order`, in [0, 1]; of the latter guessing reaches 0.5, a model that ignores order less.
    """
    prompts = prompts or Prompts()
    was_training = model.training
    try:
        single = zero_shot(model.eval(), processor, singles, skipped, batch_size, prompts).accuracy
        heard = dict(zip((scene.id for scene in scenes), hears_forward(len(scenes)), strict=True))

        def render(scene: Scene) -> list[np.ndarray]:
            return [renderer.render(scene, FORWARD if heard[scene.id] else REVERSE)]

        (embeds,), rows = embed_scenes([(model, processor)], scenes, render, skipped, batch_size, "hearing order")
        kept = [scenes[row] for row in rows]
        said = [connectives[row % len(connectives)] for row in rows]
        forward, reverse = (_captions(model, processor, kept, said, way, prompts) for way in (FORWARD, REVERSE))
    finally:
        model.train(was_training)
    right = order_accuracy(embeds[:, 0], embeds[:, 0], forward, reverse, np.array([heard[s.id] for s in kept]))
    return {"accuracy_1a": single, "order": float(right.mean())}


def _captions(model, processor, scenes: Sequence[Scene], said: list[str], relation: str, prompts: Prompts):
    captions = [
        scene_caption(scene.class_a, scene.class_b, relation, words) for scene, words in zip(scenes, said, strict=True)
    ]
    return embed_classes(model, processor, captions, Prompts(prompts.templates))


__all__ = ["quick_scores"]
