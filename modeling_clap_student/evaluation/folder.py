"""Writes an evaluation's folder: scores, tables, pictures. Decides which older files it may replace."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from ..card_clap_student import markdown_text
from ..data.benchmarks import short_name
from ..errors import InputError, reading
from ..temporal.scenes import write_manifest
from ..utils.arguments import ARGUMENTS, save_arguments
from ..utils.console import print_table, say, short_names
from ..utils.outputs import SKIPPED, is_begun, probe_folder, write_json, write_text
from ..utils.processes import from_main_process
from .arguments import EvalArguments
from .plots import draw_confusion, draw_embeddings, draw_tasks
from .probe import probe_rows, probe_tables
from .reliability import draw_reliability, reliability_rows
from .report import (
    as_markdown,
    detail_tables,
    model_index,
    scene_detail_tables,
    scene_notes,
    scene_tables,
    score_tables,
)
from .results import Result, details, provenance, with_provenance
from .statistics import compare
from .tasks import Task
from .window_scores import WindowedTask, draw_window_scores
from .zero_shot import Prompts, ZeroShotResult
from .zste.result import SceneSet, ZsteResult, file_stem, manifest_name


_LEFT = (
    *("results.json", "results.md", "model_index.yaml", ARGUMENTS, SKIPPED),
    *("confusion_*", "embeddings_*", "reliability_*", "zste_*", "windows_*", "window_scores.csv"),
)


def refuse_other_folder(folder: Path) -> None:
    """Checks that a folder holds nothing but an older evaluation, which may be replaced.

    Raises:
        InputError: the folder holds a model, or files with these names that come from elsewhere.
    """
    if is_begun(folder) or (folder / "config.json").exists():
        raise InputError(f"{folder} is a model's own folder: name another for the evaluation")
    if not is_evaluation(folder / "details.json", {"models", "tasks", "results"}):
        for pattern in ("details.json", *_LEFT):
            for file in folder.glob(pattern):
                raise InputError(f"{file} does not come from an evaluation: name another --output_dir")


def refuse_other_file(file: Path) -> None:
    """The same check for `--output_json`."""
    if file.is_dir():
        raise InputError(f"--output_json {file} is a folder: name a file")
    if file.exists() and not is_evaluation(file, {"model", "task", "metric", "value"}):
        raise InputError(f"--output_json {file} does not come from an evaluation: name another file")
    if is_begun(file.parent):
        raise InputError(f"{file.parent} is a model's own folder: name another for the evaluation")


def is_evaluation(file: Path, keys: set[str]) -> bool:
    """Whether a json file holds a mapping with these keys, or a list of such mappings."""
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
    """Checks before the work that all results can be written."""
    probe_folder(args.output_dir)
    from_main_process(lambda: refuse_other_folder(Path(args.output_dir)))
    if args.output_json:
        from_main_process(lambda: refuse_other_file(Path(args.output_json)))
        probe_folder(Path(args.output_json).parent)


def write_evaluation(
    folder: Path,
    args: EvalArguments,
    tasks: list[Task],
    prompts: Prompts,
    facts: list[dict],
    results: dict[str, list[Result]],
    cut: Sequence[WindowedTask] = (),
) -> list[dict]:
    """Prints the scores, and writes them with everything they depend on. Returns the rows of `results.json`."""
    rows = compare(results, args.baseline, args.seed)
    probed = probe_rows(results, args.probe, args.baseline, args.seed) if args.probe else []
    tables = [*scene_tables(rows, tasks), *score_tables(rows, tasks), *probe_tables(probed)]
    short = short_names(results)
    for table in tables:  # printed before anything is written: a full disk does not lose the numbers
        print_table(table.title, table.columns, [[short.get(row[0], row[0]), *row[1:]] for row in table.rows])
    per_model = [(name, result) for name, per_task in results.items() for result in per_task]
    cautions = [f"{name}: {told}" for name, result in per_model if (told := getattr(result, "collapse", None))]
    for caution in cautions:
        say(f"caution: {caution}")
    more = [*detail_tables(results), *scene_detail_tables(rows, results)]
    device = PartialState().device.type
    settings = {"baseline": args.baseline, "dtype": args.dtype, "device": device, "seed": args.seed}
    settings |= {"windows": {"seconds": cut[0].windows.seconds, "hop": cut[0].windows.hop}} if cut else {}
    notes = [f"Prompts: {', '.join(prompts.templates)}. In brackets: 95 % intervals. More in details.json."]
    notes += scene_notes(tasks) + [f"Caution: {caution}." for caution in cautions]
    made = provenance(settings, facts, tasks, prompts)
    further = probed + (reliability_rows(results) if args.plot_reliability else [])
    rows_to_write = with_provenance(rows + further, made)
    if not args.output_json:
        write_json(folder / "results.json", rows_to_write)
    write_json(folder / "details.json", details(made, tasks, results))
    names = _file_names([result.task for result in results[args.model[0]]])
    pictures = draw_window_scores(folder, cut, args.model[0], [names[task.benchmark.name] for task in cut])
    page = as_markdown([*tables, *more], notes)
    if pictures:
        shown = (f"\n![{markdown_text(words)}]({file})\n" for file, words in pictures.items())
        page += "\n## Where in the longest clips the classes are\n" + "".join(shown)
    write_text(folder / "results.md", page)
    write_text(folder / "model_index.yaml", model_index(rows, tasks, args.model))
    for task in tasks:
        if isinstance(task, SceneSet):
            write_manifest(folder / manifest_name(task), task.scenes)
    _draw(folder, args, results, rows, list(names.values()))
    save_arguments(folder, args)
    say(f"saved in {args.output_dir}: results.md has all tables, results.json every score")
    return rows_to_write


def _file_names(tasks: Sequence[str]) -> dict[str, str]:
    """Task -> the name of its pictures."""
    names: dict[str, str] = {}
    for number, task in enumerate(tasks, start=1):
        name = re.sub(r"[^\w.-]+", "_", short_name(task))
        names[task] = f"{name}_{number}" if name in names.values() else name
    return names


def _draw(
    folder: Path, args: EvalArguments, results: dict[str, list[Result]], rows: list[dict], names: Sequence[str]
) -> None:
    """Draws a confusion matrix for each classification task, over all models but the baseline; embeddings for each
    model; and the scores of scenes."""
    for number, result in enumerate(results[args.model[0]]):
        if isinstance(result, ZeroShotResult):
            draw_confusion([results[model][number] for model in args.model], folder / f"confusion_{names[number]}.png")
            panels = {model: per_task[number] for model, per_task in results.items()}
            if args.plot_embeddings:
                draw_embeddings(panels, folder / f"embeddings_{names[number]}.png", args.seed)
            if args.plot_reliability:
                draw_reliability(panels, folder / f"reliability_{names[number]}.png")
        elif isinstance(result, ZsteResult):
            draw_tasks(rows, result.task, folder / f"zste_{file_stem(result.scene_set)}.png")
