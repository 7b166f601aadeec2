"""What an evaluation needs to be made again, and each clip's outcome, so that paired tests can be: `details.json`."""

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
        "modeling_clap_student": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        **settings,
        "prompts": list(prompts.templates),
        "class_descriptions": prompts.descriptions,
        "models": list(checkpoints),
        "tasks": [_of_task(task, prompts) for task in tasks],
        "results": [{"model": model, **_of_result(result)} for model, of in results.items() for result in of],
    }


def _of_task(task, prompts: Prompts) -> dict:
    dataset = task.name.removeprefix(RETRIEVAL).removeprefix(ZSTE)
    facts = {"task": task.name, "layout": task.layout, "dataset": dataset_source(dataset)}
    if isinstance(task, CaptionedSet):
        pairs = task.pairs
        return facts | {"audio_ids": pairs["audio_id"][:], "captions": pairs["caption"][:]}
    if isinstance(task, SceneSet):
        return facts | scene_facts(task, prompts)
    clips = task.clips
    return facts | {
        "classes": {name: prompts.texts(name) for name in task.class_names},
        "audio_ids": clips["audio_id"][:],
        "labels": clips["label"][:],
        "folds": clips["fold"][:] if "fold" in clips.column_names else None,
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


__all__ = ["checkpoint_facts", "details"]
