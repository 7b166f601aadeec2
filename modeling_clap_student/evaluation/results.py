"""What an evaluation leaves beside its scores: what they depend on, and what each clip was taken for."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import torch

from ..data.benchmarks import RETRIEVAL, ZSTE, CaptionedSet
from ..data.sources import dataset_source
from ..hub_clap_student import fingerprint
from ..version import __version__
from .comparison import Result
from .plots import confusion_rows
from .retrieval import RetrievalResult
from .zero_shot import Prompts
from .zste.result import ZsteResult, scene_facts, scene_items, scene_outcomes
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


def provenance(settings: dict, checkpoints: Sequence[dict], tasks: Sequence, prompts: Prompts) -> dict:
    """What the numbers depend on: `models` and `tasks`, a list each, and versions, prompts and settings for all.

    Args:
        settings: what else there is: dtype, device, seed, baseline.
        checkpoints: of `checkpoint_facts`.
        tasks: what was evaluated on.
        prompts: what stood for the classes.
    """
    return {
        "modeling_clap_student": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "num_threads": torch.get_num_threads(),
        **settings,
        "prompts": list(prompts.templates),
        "class_descriptions": prompts.descriptions,
        "models": list(checkpoints),
        "tasks": [_facts(task, prompts) for task in tasks],
    }


def with_provenance(rows: Sequence[dict], made: dict) -> list[dict]:
    """The same scores; the first of each model on each task has `provenance`: of `model`, of `task`, and of all.

    Args:
        rows: of `compare`.
        made: of `provenance`.
    """
    of_model = {facts["model"]: facts for facts in made["models"]}
    of_task = {facts["task"]: facts for facts in made["tasks"]}
    of_all = {name: value for name, value in made.items() if name not in ("models", "tasks")}
    told, seen = [], set()
    for row in rows:
        model, task = row["model"], row["task"]
        if model in of_model and (model, task) not in seen:
            seen.add((model, task))
            row = row | {"provenance": {"model": of_model[model], "task": of_task[task], **of_all}}
        told.append(row)
    return told


def _facts(task, prompts: Prompts) -> dict:
    """Of a task as a whole; classes with the texts that stand for them."""
    dataset = task.name.removeprefix(RETRIEVAL).removeprefix(ZSTE)
    facts = {"task": task.name, "layout": task.layout, "dataset": dataset_source(dataset)}
    if isinstance(task, CaptionedSet):
        return facts
    benchmark = task.benchmark if isinstance(task, SceneSet) else task
    facts |= {"classes": {name: prompts.texts(name) for name in benchmark.class_names}, "folds": benchmark.folds}
    return facts | (scene_facts(task, prompts) if isinstance(task, SceneSet) else {})


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
        "results": [
            {"model": model, **_of_result(result)} for model, of_model in results.items() for result in of_model
        ],
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
        "class_accuracy": result.by_class,
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
