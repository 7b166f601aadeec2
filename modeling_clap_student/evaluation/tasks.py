"""The tasks that models are scored on: labelled clips, captioned clips, or scenes; and the texts for classes."""

from ..curation.strategies import PROMPT
from ..data.benchmarks import ZSTE, Benchmark, CaptionedSet, read_task
from ..data.skipping import SkippedClips
from ..data.sources import PUBLISHED_TEST, ExclusionLog, report_exclusions
from ..errors import InputError
from ..utils.console import heading, say
from .arguments import EvalArguments
from .results import Result
from .retrieval import find_captioned
from .zero_shot import PLACE, Prompts, read_descriptions, zero_shot_of_all
from .zste.evaluation import evaluate_scenes
from .zste.published import PublishedTest, evaluate_published
from .zste.reading import read_published
from .zste.result import SceneSet, manifest_name, read_scenes


Task = Benchmark | CaptionedSet | SceneSet | PublishedTest


def read_tasks(args: EvalArguments) -> list[Task]:
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    tasks = [_read_task(spec, args, exclusions) for spec in args.task]
    report_exclusions(exclusions)
    files = [manifest_name(task) for task in tasks if isinstance(task, SceneSet)]
    if again := [name for place, name in enumerate(files) if name in files[:place]]:
        raise InputError(f"two tasks zste=… would leave one {again[0]}: evaluate one after the other")
    for task in tasks:
        if isinstance(task, Benchmark):
            say(f"{task.name}: {len(task.clips)} clips of {len(task.class_names)} classes")
        elif isinstance(task, SceneSet | PublishedTest):
            say(task.summary)
        else:
            say(f"{task.name}: {len(task.pairs)} captions of {len(task.pairs.unique('audio_id'))} clips")
    return tasks


def _read_task(spec: str, args: EvalArguments, exclusions: ExclusionLog) -> Task:
    if PUBLISHED_TEST.fullmatch(spec):
        return read_published(spec, exclusions)
    if spec.startswith(ZSTE):
        return read_scenes(spec, args.zste_scenes, args.zste_manifest, exclusions)
    return read_task(spec, exclusions)


def read_prompts(args: EvalArguments, tasks: list[Task]) -> Prompts:
    described = read_descriptions(args.class_descriptions) if args.class_descriptions else None
    prompts = Prompts(tuple(args.prompt or [PROMPT + PLACE]), described)
    classed = [task for task in tasks if isinstance(task, Benchmark | SceneSet)]
    if described and not classed:
        raise InputError("--class_descriptions is for classes, and no --task has any")
    prompts.check({name for task in classed for name in task.class_names})
    return prompts


def score(
    checkpoints: dict[str, tuple], task: Task, prompts: Prompts, skipped: SkippedClips, batch_size: int
) -> dict[str, Result]:
    """Model -> its result. All models hear each clip or scene when it is made, so each is made once."""
    heading(f"Evaluation on {task.name}")
    if isinstance(task, Benchmark):
        return zero_shot_of_all(checkpoints, task, skipped, batch_size, prompts)
    if isinstance(task, SceneSet):
        return evaluate_scenes(checkpoints, task, skipped, batch_size, prompts)
    if isinstance(task, PublishedTest):
        return evaluate_published(checkpoints, task, skipped, batch_size)
    return find_captioned(checkpoints, task, skipped, batch_size)
