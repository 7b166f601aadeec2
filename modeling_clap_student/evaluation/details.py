"""Each clip's outcome, so that paired tests can be made of it: `details.json`."""

from collections.abc import Sequence

from ..data.tasks import CaptionedSet
from .captioned_retrieval import RetrievalResult
from .comparison import Result
from .confusion import confusion_rows
from .zste.details import scene_items, scene_outcomes
from .zste.result import ZsteResult
from .zste.scene_set import SceneSet


def details(made: dict, tasks: Sequence, results: dict[str, list[Result]]) -> dict:
    """For a json file.

    Args:
        made: of `provenance`.
        tasks: what was evaluated on.
        results: model -> its result on each task.
    """
    return {
        **made,
        "tasks": [facts | _items(task) for facts, task in zip(made["tasks"], tasks, strict=True)],
        "results": [{"model": model, **_of_result(result)} for model, of in results.items() for result in of],
    }


def _items(task) -> dict:
    """Of its clips, captions or scenes."""
    if isinstance(task, CaptionedSet):
        return {"audio_ids": task.pairs["audio_id"][:], "captions": task.pairs["caption"][:]}
    if isinstance(task, SceneSet):
        return scene_items(task)
    clips = task.clips
    return {
        "audio_ids": clips["audio_id"][:],
        "labels": clips["label"][:],
        "fold_of_clip": clips["fold"][:] if "fold" in clips.column_names else None,
    }


def _of_result(result: Result) -> dict:
    """Predictions stand in the order of the task's clips; ranks beside the numbers of the task's rows, or clips."""
    if isinstance(result, RetrievalResult):
        ways = {way: _ranks(result, way) for way in result.scores}
        return {"task": result.task, "ranks": ways}
    if isinstance(result, ZsteResult):
        return scene_outcomes(result)
    return {
        "task": result.task,
        "class_accuracy": result.class_accuracy,
        "fold_accuracy": result.fold_accuracy,
        "most_confused": confusion_rows(result),
        "predictions": result.predictions,
    }


def _ranks(result: RetrievalResult, way: str) -> dict:
    scores = result.scores[way]
    return {
        "queries": result.items(way).tolist(),
        "best_rank": scores.best.tolist(),
        "average_precision": scores.average_precision.tolist(),
    }


__all__ = ["details"]
