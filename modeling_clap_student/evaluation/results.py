"""Records beside the scores: everything they depend on, and the prediction for each clip."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

import torch

from ..data.benchmarks import RETRIEVAL, ZSTE, CaptionedSet
from ..data.sources import dataset_source
from ..hub_clap_student import fingerprint
from ..temporal.captions import RELATIONS
from ..version import __version__
from .plots import most_confused
from .retrieval import RetrievalResult
from .zero_shot import Prompts, ZeroShotResult
from .zste.published import PublishedResult, PublishedTest
from .zste.questions import FIRST, NUM_CANDIDATES, SECOND, hears_forward
from .zste.result import SEED, SceneSet, ZsteResult, manifest_name


Result = ZeroShotResult | RetrievalResult | ZsteResult | PublishedResult

_PACKAGES = ("accelerate", "datasets", "evaluate", "numpy", "soundfile", "tokenizers", "torch", "transformers")


def checkpoint_facts(name: str, model, processor) -> dict:
    """Identifies the weights behind a name that the user typed, before they are folded or cast."""
    return {
        "model": name,
        "revision": getattr(model.config, "_commit_hash", None),
        "fingerprint": fingerprint(model),
        "model_type": model.config.model_type,
        "sampling_rate": processor.feature_extractor.sampling_rate,
    }


def provenance(settings: dict, checkpoints: Sequence[dict], tasks: Sequence, prompts: Prompts) -> dict:
    """Everything the numbers depend on: a list `models` (from `checkpoint_facts`), a list `tasks`, and versions,
    prompts and settings for all."""
    return {
        "modeling_clap_student": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "num_threads": torch.get_num_threads(),
        **settings,
        "prompts": list(prompts.templates),
        "class_descriptions": prompts.descriptions,
        "models": list(checkpoints),
        "tasks": [_task_facts(task, prompts) for task in tasks],
    }


def with_provenance(rows: Sequence[dict], facts: dict) -> list[dict]:
    """The same scores. The first of each model on each task gets `provenance`: of `model`, of `task`, and of all."""
    models = {model["model"]: model for model in facts["models"]}
    tasks = {task["task"]: task for task in facts["tasks"]}
    common = {name: value for name, value in facts.items() if name not in ("models", "tasks")}
    rows, first_rows = list(rows), {}
    for place, row in enumerate(rows):
        first_rows.setdefault((row["model"], row["task"]), place)
    for (model, task), place in first_rows.items():
        if model in models:
            rows[place] = rows[place] | {"provenance": {"model": models[model], "task": tasks[task], **common}}
    return rows


def _task_facts(task, prompts: Prompts) -> dict:
    """The facts about a whole task. Classes are listed with the texts that describe them."""
    published = isinstance(task, PublishedTest)
    dataset = task.place if published else task.name.removeprefix(RETRIEVAL).removeprefix(ZSTE)
    facts = {"task": task.name, "layout": task.layout, "dataset": dataset_source(dataset)}
    if published or isinstance(task, CaptionedSet):
        return facts | (task.facts if published else {})
    benchmark = task.benchmark if isinstance(task, SceneSet) else task
    facts |= {"classes": {name: prompts.texts(name) for name in benchmark.class_names}, "folds": benchmark.folds}
    if isinstance(task, SceneSet):
        facts |= {
            "manifest": task.manifest or manifest_name(task),
            "seed": None if task.manifest else SEED,
            "num_scenes": len(task.scenes),
            "caption_prompts": list(prompts.templates),
            "position_prompts": [FIRST, SECOND],
            "most_candidates": NUM_CANDIDATES,
        }
    return facts


def details(facts: dict, tasks: Sequence, results: dict[str, list[Result]]) -> dict:
    """For a json file: the `provenance`, each task's items, and each result's outcomes, item by item."""
    return {
        **facts,
        "tasks": [task_facts | _task_items(task) for task_facts, task in zip(facts["tasks"], tasks, strict=True)],
        "results": [
            {"model": model, "task": result.task, **_outcomes(result)}
            for model, model_results in results.items()
            for result in model_results
        ],
    }


def _task_items(task) -> dict:
    if isinstance(task, CaptionedSet):
        return {"audio_ids": task.pairs["audio_id"][:], "captions": task.pairs["caption"][:]}
    if isinstance(task, PublishedTest):
        return {
            "audio_ids": task.clips["audio_id"][:],
            "captions": task.texts,
            "caption_of_item": {name: part.texts.tolist() for name, part in task.parts.items()},
            "compositions": None if task.compositions is None else list(map(asdict, task.compositions)),
        }
    if isinstance(task, SceneSet):
        return {
            "scenes": [scene.id for scene in task.scenes],
            "forward_heard": hears_forward(len(task.scenes)).tolist(),
        }
    return {
        "audio_ids": task.clips["audio_id"][:],
        "labels": task.clips["label"][:],
        "fold_of_clip": task.clips["fold"][:] if "fold" in task.clips.column_names else None,
    }


def _outcomes(result: Result) -> dict:
    """Predictions and `order` follow the order of the task's clips or scenes. Ranks come with the numbers of the
    task's rows or clips."""
    if isinstance(result, RetrievalResult):
        return {"ranks": {way: _ranks(result, way) for way in result.scores}}
    if isinstance(result, ZsteResult):
        return _scene_outcomes(result)
    if isinstance(result, PublishedResult):
        answers = result.answers.items()
        return {"answers": {name: {"items": a.items.tolist(), "values": a.values.tolist()} for name, a in answers}}
    return {
        "class_accuracy": result.by_class,
        "fold_accuracy": result.fold_accuracy,
        "most_confused": [asdict(pair) for pair in most_confused(result)],
        "predictions": result.predictions,
    }


def _ranks(result: RetrievalResult, way: str) -> dict:
    scores = result.scores[way]
    return {
        "queries": result.items(way).tolist(),
        "best_rank": scores.best.tolist(),
        "average_precision": scores.average_precision.tolist(),
    }


def _scene_outcomes(result: ZsteResult) -> dict:
    """`order` is task 3C: right or wrong, null if a clip can't be read."""
    order: list[bool | None] = [None] * len(result.scene_set.scenes)
    for row, right in zip(result.rows.tolist(), result.outcomes["3C"].values().tolist(), strict=True):
        order[row] = right
    return {
        "num_scenes": len(result.rows),
        "num_clips": len(result.clip_ids),
        "candidates": {
            "4A": result.questions.candidates_4a.shape[1],
            "4B": result.questions.candidates_4b.shape[1],
        },
        "trained_connectives": result.trained_connectives,
        "order": order,
        "confusion": dict(zip(RELATIONS, result.confusion.tolist(), strict=True)),
    }
