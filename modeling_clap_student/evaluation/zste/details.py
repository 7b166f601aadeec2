"""What is told of scenes beside their scores."""

from ...temporal.captions import RELATIONS
from ..prompts import Prompts
from .questions import FIRST, NUM_CANDIDATES, SECOND, hears_forward
from .result import ZsteResult
from .scene_set import SEED, SceneSet, manifest_name


def scene_facts(scene_set: SceneSet, prompts: Prompts) -> dict:
    """Of a set: what its scenes are, and what a model is asked."""
    return {
        "manifest": scene_set.manifest or manifest_name(scene_set),
        "seed": None if scene_set.manifest else SEED,
        "num_scenes": len(scene_set.scenes),
        "caption_prompts": list(prompts.templates),
        "position_prompts": [FIRST, SECOND],
        "most_candidates": NUM_CANDIDATES,
    }


def scene_items(scene_set: SceneSet) -> dict:
    """Of its scenes: their ids, and whether tasks of one order hear the forward one."""
    return {
        "scenes": [scene.id for scene in scene_set.scenes],
        "forward_heard": hears_forward(len(scene_set.scenes)).tolist(),
    }


def scene_outcomes(result: ZsteResult) -> dict:
    """Of a model. `order` is task 3C, scene by scene of the set: right or wrong, null where a clip can't be read."""
    order: list[bool | None] = [None] * len(result.scene_set.scenes)
    for row, right in zip(result.rows.tolist(), result.outcomes["3C"].values().tolist(), strict=True):
        order[row] = right
    return {
        "task": result.task,
        "num_scenes": result.num_scenes,
        "num_clips": result.num_clips,
        "candidates": {
            "4A": result.questions.candidates_4a.shape[1],
            "4B": result.questions.candidates_4b.shape[1],
        },
        "trained_connectives": result.trained_connectives,
        "order": order,
        "confusion": dict(zip(RELATIONS, result.confusion.tolist(), strict=True)),
    }


__all__ = ["scene_facts", "scene_items", "scene_outcomes"]
