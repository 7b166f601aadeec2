"""Where in the clips the classes are: each window's probabilities, as a table on disk and as pictures."""

import csv
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import Dataset

from ..checkpoints.embedding import iter_clips, side_by_side
from ..data.benchmarks import Benchmark, short_name
from ..data.decoding import open_clip
from ..data.skipping import SkippedClips
from ..data.windows import Span, check_lengths, iter_windows, window_spans
from ..errors import InputError
from ..utils.charts import save_chart
from ..utils.console import progress_bar, say
from ..utils.window_plot import PLACE_COLUMNS, draw_windows
from ..windows_clap_student import Windows, without_part
from .arguments import EvalArguments
from .zero_shot import Prompts, embed_classes


WINDOW_SCORES = "window_scores.csv"
_MOST_PICTURES = 3  # per task, for the clips with the most windows


@dataclass(frozen=True)
class WindowedTask:
    """A task's clips cut into windows."""

    benchmark: Benchmark
    windows: Windows
    spans: list[list[Span | None]]  # of each clip's windows


def cut_tasks(args: EvalArguments, tasks: Sequence, checkpoints: Mapping[str, tuple]) -> list[WindowedTask]:
    """The windows of all clips that have classes. By default they are as long as the first model's own.

    Raises:
        InputError: no task has classes, a class has a column's name, a model gives no probabilities, or windows are
            longer than every clip.
    """
    if not args.window_scores:
        return []
    benchmarks = [task for task in tasks if isinstance(task, Benchmark)]
    if not benchmarks:
        raise InputError("--window_scores is for labelled clips, and no --task has any")
    for task in benchmarks:
        if taken := set(PLACE_COLUMNS) & set(task.class_names):
            raise InputError(f"--window_scores can't name a column after the class {min(taken)!r} of {task.name}")
    for model, _ in checkpoints.values():
        _ = model.logit_scale  # a model without one fails here, before hours of work
    extractor = next(iter(checkpoints.values()))[1].feature_extractor
    windows = args.windows_of(args.window_seconds or extractor.window_samples / extractor.sampling_rate)
    cut = [WindowedTask(task, windows, window_spans(task.clips, windows)) for task in benchmarks]
    for task in cut:
        spans = [span for of_clip in task.spans for span in of_clip]
        if args.window_seconds is not None:
            check_lengths(spans, windows, task.benchmark.name)
        say(f"{task.benchmark.name}: {len(spans)} windows of {windows}")
    return cut


def write_window_scores(
    folder: Path,
    checkpoints: Mapping[str, tuple],
    tasks: Sequence[WindowedTask],
    prompts: Prompts,
    skipped: SkippedClips,
    batch_size: int,
) -> None:
    """Writes one row per window and model, as soon as it is known. All processes must call it, and all must see the
    folder.

    Columns are `task`, `model`, `audio_id`, `start`, `end` (s), and for each class the probability, as `classify`
    gives it; empty for a class of another task. Windows that can't be read are listed in `skipped` and have no row.
    """
    state = PartialState()
    classes = list(dict.fromkeys(name for task in tasks for name in task.benchmark.class_names))
    for number, task in enumerate(tasks):
        with open(_part(folder, number, state.process_index), "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*PLACE_COLUMNS, *classes], restval="")
            writer.writerows(_score(task, checkpoints, prompts, skipped, batch_size))
    skipped.check()
    state.wait_for_everyone()
    if state.is_main_process and tasks:
        with open(folder / WINDOW_SCORES, "w", encoding="utf-8", newline="") as whole:
            csv.writer(whole).writerow([*PLACE_COLUMNS, *classes])
            for part in (_part(folder, n, rank) for n in range(len(tasks)) for rank in range(state.num_processes)):
                with open(part, encoding="utf-8", newline="") as file:
                    shutil.copyfileobj(file, whole)
                part.unlink()


def _part(folder: Path, task: int, process: int) -> Path:
    return folder / f".{WINDOW_SCORES}.{task}.{process}"


def _score(
    task: WindowedTask,
    checkpoints: Mapping[str, tuple],
    prompts: Prompts,
    skipped: SkippedClips,
    batch_size: int,
) -> Iterator[dict]:
    """The rows for this process's share of the windows."""
    state, names = PartialState(), task.benchmark.class_names
    bounds = np.linspace(0, sum(map(len, task.spans)), state.num_processes + 1).astype(int)
    first, stop = bounds[state.process_index : state.process_index + 2].tolist()
    for models, side, processor in side_by_side(checkpoints):
        texts = [embed_classes(*checkpoints[model], names, prompts) for model in models]
        scales = [float(checkpoints[model][0].logit_scale.detach().float().cpu().exp()) for model in models]
        rows = iter_windows(task.benchmark.clips, task.spans, first, stop)
        description, hidden = f"windows of {task.benchmark.name}", not state.is_main_process
        bar = progress_bar(rows, desc=description, total=stop - first, unit="window", disable=hidden)
        for row, vectors, _ in iter_clips(side.eval(), processor, bar, skipped, batch_size):
            if vectors is None:
                continue
            place = {"audio_id": without_part(row["audio_id"]), "start": row["start"], "end": row["end"]}
            for model, vector, classes, scale in zip(models, vectors, texts, scales, strict=True):
                shares = _softmax(scale * (classes @ vector))
                yield {"task": task.benchmark.name, "model": model} | place | dict(zip(names, shares, strict=True))


def _softmax(logits: np.ndarray) -> list[str]:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return [f"{share:.6g}" for share in powers / powers.sum()]


def draw_window_scores(
    folder: Path, tasks: Sequence[WindowedTask], model: str, file_names: Sequence[str]
) -> dict[str, str]:
    """Draws what a model heard in the longest clips of each task. Returns file -> caption.

    Args:
        folder: holds `window_scores.csv`, and gets the pictures.
        file_names: the beginning of the files' names for each task.
    """
    if not PartialState().is_main_process:
        return {}
    pictures = {}
    for task, word in zip(tasks, file_names, strict=True):
        name = task.benchmark.name
        counts = Counter(row["audio_id"] for row in _read(folder, name, model))
        clips = dict.fromkeys(audio_id for audio_id, _ in counts.most_common(_MOST_PICTURES))
        rows = {audio_id: [] for audio_id in clips}
        for row in _read(folder, name, model):
            if row["audio_id"] in rows:
                rows[row["audio_id"]].append(_numbers(row, task.benchmark.class_names))
        audio_of = _audio_of(task.benchmark.clips, set(clips))
        for number, audio_id in enumerate(clips, start=1):
            file = f"windows_{word}_{number}.png"
            with open_clip(audio_of[audio_id], 1000) as clip:
                save_chart(draw_windows(rows[audio_id], clip.source, audio_id), folder / file)
            pictures[file] = f"{short_name(name)}: {audio_id}, as {model} hears it"
    return pictures


def _read(folder: Path, task: str, model: str) -> Iterator[dict[str, str]]:
    with open(folder / WINDOW_SCORES, encoding="utf-8", newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["task"] == task and row["model"] == model)


def _numbers(row: dict[str, str], classes: Sequence[str]) -> dict[str, float]:
    return {name: float(row[name]) for name in ("start", "end", *classes)}


def _audio_of(clips: Dataset, ids: set[str]) -> dict[str, dict]:
    rows = [row for row, audio_id in enumerate(clips["audio_id"]) if audio_id in ids]
    return {clip["audio_id"]: clip["audio"] for clip in clips.select(rows)}
