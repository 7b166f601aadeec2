"""The whole of ZSTE: models hear a set's scenes, and are asked."""

import numpy as np

from ...data.skipping import SkippedClips
from ...embedding import embed_clips, side_by_side
from ...errors import InputError
from ...temporal.scenes import SceneRenderer
from ..prompts import Prompts
from .controls import control_tasks
from .embed import check_finite, control_audio, embed_questions, embed_scenes, every_variant
from .questions import Questions, ask, bag_of_words
from .result import ZsteResult
from .scene_set import SceneSet
from .tasks import confusion, scene_tasks, single_sounds


def evaluate_scenes(
    checkpoints: dict[str, tuple],
    scene_set: SceneSet,
    skipped: SkippedClips,
    batch_size: int = 32,
    prompts: Prompts | None = None,
) -> dict[str, ZsteResult]:
    """Zero-shot temporal evaluation.

    Scenes are rendered once for all models of one sampling rate. Task 1A takes the set's clips as they are, each once.

    Args:
        checkpoints: name -> (model, processor), in eval mode, all on one device.
        scene_set: clips and scenes.
        skipped: where clips that can't be read are listed; a scene with one of them is left out.
        batch_size: windows to embed at a time.
        prompts: what stands for classes and captions; "this is a sound of " + them by default.

    Returns:
        name -> its result, in the order of the models.

    Raises:
        InputError: fewer than two scenes can be heard, or embeddings that are not finite.
    """
    prompts = prompts or Prompts()
    questions = ask(scene_set.scenes, scene_set.benchmark.class_names)
    by_rate: dict[int, list[str]] = {}
    for name, (_, processor) in checkpoints.items():
        by_rate.setdefault(processor.feature_extractor.sampling_rate, []).append(name)
    heard: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for rate, names in by_rate.items():
        render = every_variant(SceneRenderer(scene_set.benchmark.clips, rate, skipped))
        some = [checkpoints[name] for name in names]
        embeds, rows = embed_scenes(some, scene_set.scenes, render, skipped, batch_size, f"scenes at {rate} Hz")
        if len(rows) < 2:
            raise InputError(f"{scene_set.name}: only one scene can be heard, and at least 2 are needed")
        heard |= {name: (of_model, rows) for name, of_model in zip(names, embeds, strict=True)}
    singles = _single_sounds(checkpoints, scene_set, skipped, batch_size)
    return {
        name: _result(checkpoint, scene_set, questions, heard[name], singles[name], prompts)
        for name, checkpoint in checkpoints.items()
    }


def _single_sounds(
    checkpoints: dict[str, tuple], scene_set: SceneSet, skipped: SkippedClips, batch_size: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Model -> embeddings of the clips as they are, and their rows."""
    found = {}
    for names, models, processor in side_by_side(checkpoints):
        description = f"single sounds of {scene_set.name}"
        embeds, rows = embed_clips(models, processor, scene_set.benchmark.clips, skipped, batch_size, description)
        found |= {name: (embeds[:, place], rows) for place, name in enumerate(names)}
    return found


def _result(
    checkpoint: tuple,
    scene_set: SceneSet,
    questions: Questions,
    scenes_heard: tuple[np.ndarray, np.ndarray],
    clips_heard: tuple[np.ndarray, np.ndarray],
    prompts: Prompts,
) -> ZsteResult:
    (model, processor), (embeds, rows), (singles, kept) = checkpoint, scenes_heard, clips_heard
    questions = questions.select(rows)
    texts = embed_questions(model, processor, questions, prompts)
    audio = control_audio(embeds)
    clips = scene_set.benchmark.clips
    number = {name: place for place, name in enumerate(questions.class_names)}
    truth = np.array([number[label] for label in np.array(clips["label"])[kept]])
    sorted_texts = embed_questions(model, processor, questions, prompts, bag_of_words)
    record = getattr(model.config, "record", None) or {}
    return ZsteResult(
        scene_set=scene_set,
        rows=rows,
        clip_ids=np.array(clips["audio_id"])[kept],
        questions=questions,
        outcomes={
            "1A": single_sounds(check_finite(singles), texts.classes, truth),
            **scene_tasks(audio.plain, texts, questions),
        },
        controls=control_tasks(audio, texts, sorted_texts, questions),
        confusion=confusion(audio.plain, texts, questions),
        trained_connectives=record.get("connectives"),
    )


__all__ = ["evaluate_scenes"]
