"""What an evaluation's numbers depend on: dataset, folds, classes, prompts, weights and versions."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import torch

from ..checkpoints import fingerprint
from ..data.sources import dataset_source
from ..data.tasks import RETRIEVAL, ZSTE, CaptionedSet
from ..version import __version__
from .prompts import Prompts
from .zste.details import scene_facts
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


__all__ = ["checkpoint_facts", "provenance", "with_provenance"]
