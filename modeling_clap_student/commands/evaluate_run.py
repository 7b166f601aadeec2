"""What `clap-eval` does once its flags are read."""

import json
import re
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from ..checkpoints.inference import for_inference
from ..checkpoints.loading import load_checkpoint
from ..curation.strategies import PROMPT
from ..data.benchmarks import ZSTE, Benchmark, CaptionedSet, read_task, short_name
from ..data.skipping import SkippedClips, report_skipped, skipped_clips
from ..data.sources import ExclusionLog, report_exclusions
from ..errors import InputError, reading
from ..evaluation.comparison import Result, compare
from ..evaluation.plots import draw_confusion, draw_embeddings
from ..evaluation.report import as_markdown, detail_tables, model_index, score_tables
from ..evaluation.results import checkpoint_facts, details, provenance, with_provenance
from ..evaluation.retrieval import find_captioned
from ..evaluation.zero_shot import PLACE, Prompts, ZeroShotResult, read_descriptions, zero_shot_of_all
from ..evaluation.zste.evaluation import evaluate_scenes
from ..evaluation.zste.result import ZsteResult
from ..evaluation.zste.scene_set import SceneSet, file_stem, manifest_name, read_scenes
from ..evaluation.zste.tables import draw_tasks, scene_detail_tables, scene_notes, scene_tables
from ..temporal.scenes import write_manifest
from ..utils.arguments import ARGUMENTS, save_arguments
from ..utils.console import heading, print_table, say
from ..utils.outputs import SKIPPED, is_begun, output_folder, probe_folder, whole_files, write_json, write_text
from ..utils.processes import from_main_process
from .arguments import EvalArguments
from .command_line import report_data


Task = Benchmark | CaptionedSet | SceneSet


def read_tasks(args: EvalArguments) -> list[Task]:
    exclusions = ExclusionLog(allow_outside_paths=args.allow_outside_paths)
    tasks = [
        read_scenes(spec, args.zste_scenes, args.zste_manifest, exclusions)
        if spec.startswith(ZSTE)
        else read_task(spec, exclusions)
        for spec in args.task
    ]
    report_exclusions(exclusions)
    files = [manifest_name(task) for task in tasks if isinstance(task, SceneSet)]
    if again := [name for place, name in enumerate(files) if name in files[:place]]:
        raise InputError(f"two tasks zste=… would leave one {again[0]}: evaluate one after the other")
    for task in tasks:
        if isinstance(task, Benchmark):
            say(f"{task.name}: {len(task.clips)} clips of {len(task.class_names)} classes")
        elif isinstance(task, SceneSet):
            say(task.summary)
        else:
            say(f"{task.name}: {len(task.pairs)} captions of {len(task.pairs.unique('audio_id'))} clips")
    return tasks


def read_prompts(args: EvalArguments, tasks: list[Task]) -> Prompts:
    described = read_descriptions(args.class_descriptions) if args.class_descriptions else None
    prompts = Prompts(tuple(args.prompt or [PROMPT + PLACE]), described)
    classed = [task for task in tasks if not isinstance(task, CaptionedSet)]
    if described and not classed:
        raise InputError("--class_descriptions is for classes, and no --task has any")
    prompts.check({name for task in classed for name in task.class_names})
    return prompts


def load_all(args: EvalArguments) -> tuple[dict[str, tuple], list[dict]]:
    """Model -> a copy of it for inference and its processor; what is known of each one's weights."""
    checkpoints, facts = {}, []
    for name in args.models:
        model, processor = load_checkpoint(name)
        facts.append(checkpoint_facts(name, model, processor))
        checkpoints[name] = for_inference(model.to(PartialState().device), args.dtype), processor
    return checkpoints, facts


def score(
    checkpoints: dict[str, tuple], task: Task, prompts: Prompts, skipped: SkippedClips, batch_size: int
) -> dict[str, Result]:
    """Model -> its result. Models hear a task's clips or scenes side by side, so that each is made once."""
    heading(f"Evaluation on {task.name}")
    if isinstance(task, Benchmark):
        return zero_shot_of_all(checkpoints, task, skipped, batch_size, prompts)
    if isinstance(task, SceneSet):
        return evaluate_scenes(checkpoints, task, skipped, batch_size, prompts)
    return find_captioned(checkpoints, task, skipped, batch_size)


def draw(folder: Path, args: EvalArguments, results: dict[str, list[Result]], rows: list[dict]) -> None:
    """A confusion matrix of each classification task, over all models but the baseline; its embeddings, of each; the
    scores of scenes."""
    names: list[str] = []
    for number, result in enumerate(results[args.model[0]]):
        name = re.sub(r"[^\w.-]+", "_", short_name(result.task))
        names.append(f"{name}_{number + 1}" if name in names else name)
        if isinstance(result, ZeroShotResult):
            draw_confusion([results[model][number] for model in args.model], folder / f"confusion_{names[-1]}.png")
            if args.plot_embeddings:
                panels = {model: per_task[number] for model, per_task in results.items()}
                draw_embeddings(panels, folder / f"embeddings_{names[-1]}.png", args.seed)
        elif isinstance(result, ZsteResult):
            draw_tasks(rows, result.task, folder / f"zste_{file_stem(result.scene_set)}.png")


_LEFT = ("results.json", "results.md", "model_index.yaml", ARGUMENTS, SKIPPED, "confusion_*", "embeddings_*", "zste_*")


def refuse_other_folder(folder: Path) -> None:
    """An older evaluation may be replaced, and nothing else.

    Raises:
        InputError: the folder holds a model, or files of these names that no evaluation left.
    """
    if is_begun(folder) or (folder / "config.json").exists():
        raise InputError(f"{folder} is a model's own folder: name another for the evaluation")
    if not is_evaluation(folder / "details.json", {"models", "tasks", "results"}):
        for pattern in ("details.json", *_LEFT):
            for file in folder.glob(pattern):
                raise InputError(f"{file} was left by no evaluation: name another --output_dir")


def refuse_other_file(file: Path) -> None:
    """For `--output_json`, likewise."""
    if file.is_dir():
        raise InputError(f"--output_json {file} is a folder: name a file")
    if file.exists() and not is_evaluation(file, {"model", "task", "metric", "value"}):
        raise InputError(f"--output_json {file} was left by no evaluation: name another file")
    if is_begun(file.parent):
        raise InputError(f"{file.parent} is a model's own folder: name another for the evaluation")


def is_evaluation(file: Path, keys: set[str]) -> bool:
    """Whether a json file holds a mapping with these keys, or a list of such."""
    if not file.is_file():
        return False
    try:
        with reading(file, "json file"):
            content = json.loads(file.read_text(encoding="utf-8"))
    except InputError:
        return False
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and keys <= first.keys()


def check_places(args: EvalArguments) -> None:
    """Whether all that the evaluation leaves can be written: told before the work, not after."""
    probe_folder(args.output_dir)
    from_main_process(lambda: refuse_other_folder(Path(args.output_dir)))
    if args.output_json:
        from_main_process(lambda: refuse_other_file(Path(args.output_json)))
        probe_folder(Path(args.output_json).parent)


def evaluate(args: EvalArguments) -> None:
    """Reads, embeds, scores, compares, prints, saves."""
    set_seed(args.seed)
    if not args.dry_run:
        check_places(args)
    tasks = read_tasks(args)
    prompts = read_prompts(args, tasks)
    if args.dry_run:
        tables = {task.name: task.pairs if isinstance(task, CaptionedSet) else task.clips for task in tasks}
        report_data(tables)
        return
    checkpoints, facts = load_all(args)  # of all of them: a wrong name is told before hours of work
    with output_folder(args.output_dir, check=refuse_other_folder) as folder:
        with whole_files(folder) as new:
            skipped = skipped_clips(new, args.max_skipped_fraction)
            of_tasks = [score(checkpoints, task, prompts, skipped, args.batch_size) for task in tasks]
            results = {name: [of_task[name] for of_task in of_tasks] for name in args.models}
            num_skipped = report_skipped(skipped, folder)
            scored = leave(new, args, tasks, prompts, facts, results)
        if not num_skipped and PartialState().is_main_process:
            (folder / SKIPPED).unlink(missing_ok=True)  # an older evaluation's
    if args.output_json:
        write_json(Path(args.output_json), scored)


def leave(
    folder: Path,
    args: EvalArguments,
    tasks: list[Task],
    prompts: Prompts,
    facts: list[dict],
    results: dict[str, list[Result]],
) -> list[dict]:
    """Prints the scores, and writes them with all that they depend on; returns the rows of `results.json`."""
    rows = compare(results, args.baseline, args.seed)
    tables = [*scene_tables(rows, tasks), *score_tables(rows, tasks)]
    for table in tables:  # before anything is written: a full disk does not cost the numbers
        print_table(table.title, table.columns, table.rows)
    more = [*detail_tables(results), *scene_detail_tables(rows, results)]
    device = PartialState().device.type
    settings = {"baseline": args.baseline, "dtype": args.dtype, "device": device, "seed": args.seed}
    notes = [f"Prompts: {', '.join(prompts.templates)}. In brackets: 95 % intervals. More in details.json."]
    notes += scene_notes(tasks)
    made = provenance(settings, facts, tasks, prompts)
    rows_to_write = with_provenance(rows, made)
    if not args.output_json:
        write_json(folder / "results.json", rows_to_write)
    write_json(folder / "details.json", details(made, tasks, results))
    write_text(folder / "results.md", as_markdown([*tables, *more], notes))
    write_text(folder / "model_index.yaml", model_index(rows, tasks, args.model))
    for task in tasks:
        if isinstance(task, SceneSet):
            write_manifest(folder / manifest_name(task), task.scenes)
    draw(folder, args, results, rows)
    save_arguments(folder, args)
    return rows_to_write
