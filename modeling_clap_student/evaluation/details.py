"""What an evaluation needs to be made again, beside its scores in `results.json`; and `details.json`, with each clip's
outcome too, so that paired tests can be made."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

from ..checkpoints import fingerprint
from ..data.sources import dataset_source
from ..data.tasks import RETRIEVAL, ZSTE, CaptionedSet
from ..version import __version__
from .captioned_retrieval import RetrievalResult
from .comparison import Result
from .confusion import confusion_rows
from .prompts import Prompts
from .zste.details import scene_facts, scene_outcomes
from .zste.result import ZsteResult
from .zste.scene_set import SceneSet


_PACKAGES = ("accelerate", "datasets", "evaluate", "numpy", "soundfile", "tokenizers", "torch", "transformers")


def checkpoint_facts(name: str, model, processor) -> dict:
    """Which weights a name stood for, before they are folded or cast.

    Args:
        name: as the user typed it.
        model, processor: what `load_checkpoint` returned.
    """
    return {
        "model": name,
        "revision": getattr(model.config, "_commit_hash", None),
        "fingerprint": fingerprint(model),
        "model_type": model.config.model_type,
        "sampling_rate": processor.feature_extractor.sampling_rate,
    }


def told_how(rows: Sequence[dict], settings: dict, checkpoints: Sequence[dict], tasks: Sequence, prompts: Prompts):
    """Scores of which each model's first on each task has `made_with`: dataset, folds, classes, prompts, weights and
    versions. The others' are the same.

    Args:
        rows: of `compare`.
        settings, checkpoints, tasks, prompts: as for `details`.
    """
    of_model = {facts["model"]: facts for facts in checkpoints}
    of_task = {task.name: _facts(task, prompts) for task in tasks}
    told, made = set(of_model), _made_by(settings, prompts)
    first = {(row["model"], row["task"]): row for row in reversed(rows) if row["model"] in told}
    return [
        row | {"made_with": of_model[row["model"]] | of_task[row["task"]] | made}
        if first.get((row["model"], row["task"])) is row
        else row
        for row in rows
    ]


def details(
    settings: dict, checkpoints: Sequence[dict], tasks: Sequence, prompts: Prompts, results: dict[str, list[Result]]
) -> dict:
    """For a json file.

    Args:
        settings: what else the numbers depend on: dtype, device, seed, baseline.
        checkpoints: of `checkpoint_facts`.
        tasks: what was evaluated on.
        prompts: what stood for the classes.
        results: model -> its result on each task.
    """
    return {
        **_made_by(settings, prompts),
        "models": list(checkpoints),
        "tasks": [_facts(task, prompts) | _items(task, prompts) for task in tasks],
        "results": [{"model": model, **_of_result(result)} for model, of in results.items() for result in of],
    }


def _made_by(settings: dict, prompts: Prompts) -> dict:
    return {
        "modeling_clap_student": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        **settings,
        "prompts": list(prompts.templates),
        "class_descriptions": prompts.descriptions,
    }


def _facts(task, prompts: Prompts) -> dict:
    """Of a task as a whole; classes with the texts that stand for them."""
    dataset = task.name.removeprefix(RETRIEVAL).removeprefix(ZSTE)
    facts = {"task": task.name, "layout": task.layout, "dataset": dataset_source(dataset)}
    if isinstance(task, CaptionedSet):
        return facts
    clips, classes = (
        (task.benchmark.clips, task.benchmark.class_names)
        if isinstance(task, SceneSet)
        else (task.clips, task.class_names)
    )
    folds = sorted(set(clips["fold"])) if "fold" in clips.column_names else None
    return facts | {"classes": {name: prompts.texts(name) for name in classes}, "folds": folds}


def _items(task, prompts: Prompts) -> dict:
    """Of its clips, captions or scenes."""
    if isinstance(task, CaptionedSet):
        return {"audio_ids": task.pairs["audio_id"][:], "captions": task.pairs["caption"][:]}
    if isinstance(task, SceneSet):
        return scene_facts(task, prompts)
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


__all__ = ["checkpoint_facts", "details", "told_how"]
