"""What `run_eval.py` tells of scenes: tables and a chart."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from accelerate import PartialState
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...data.benchmarks import short_name
from ...temporal.captions import RELATIONS
from ...utils.charts import FILE_STYLE, save_chart
from ...utils.ranking import CUTOFFS
from ..report import ReportTable, percent
from .questions import CONNECTIVES
from .result import CONTROL, MAIN_TASKS, SCORE, ZsteResult
from .scene_set import SceneSet
from .tasks import CONTROLS, metric_of


# metric -> what it measures.
TITLES = {
    SCORE: "score: mean of 1A 2A 3A 4A 5A over chance",
    "1A": "1A single sound",
    "2A": "2A overlay: both sounds",
    "2B": "2B overlay: recall at 2",
    "2C": "2C one after the other: both sounds",
    "2D": "2D one after the other: recall at 2",
    "3A": "3A order, of 3 captions",
    "3B": "3B order or overlay, of 3 captions",
    "3C": "3C order, of 2 captions",
    "3D/text": "3D 2 × 2: captions",
    "3D/audio": "3D 2 × 2: sounds",
    "3D": "3D 2 × 2: both",
    "3E/text": "3E 3 × 3: captions",
    "3E/audio": "3E 3 × 3: sounds",
    "3E": "3E 3 × 3: both",
    "4A": "4A among up to 50 captions",
    "4B": "4B among up to 50, the reversal with them",
    "4B/reversal_share": "4B errors that are the reversal",
    "5A": "5A position prompts: both at once",
    "5B": "5B position prompts: first and second",
    "5B/first": "5B first",
    "5B/second": "5B second",
    "5B/swapped": "5B both swapped",
    "6A": "6A order by “after”",
    "6B": "6B order by other connectives",
    "unseen_connectives": "connectives kept from training",
    **{f"6C/{words}_gap_R@{k}": f"6C swap gap, {words}, R@{k}" for words in ("reversed", "replaced") for k in CUTOFFS},
}
_CONTROLLED = [metric for metric in MAIN_TASKS if metric != "1A"]
_OF_ORDER = ("3A", "3C", "3D", "4A", "4B", "5A", "5B", "6A", "6B")


def scene_tables(rows: Sequence[dict], tasks: Sequence) -> list[ReportTable]:
    """For the terminal too: tasks × models, controls, connectives of each set of scenes.

    Args:
        rows: of `compare`.
        tasks: that they speak of; those without scenes are left out.
    """
    tables = []
    for task in tasks:
        if isinstance(task, SceneSet):
            scores, models, name = _of_task(rows, task.name)
            tables += [
                _task_table(scores, models, name),
                _control_table(scores, models, name),
                _connective_table(scores, models, name),
            ]
    return tables


def _of_task(rows: Sequence[dict], task: str) -> tuple[dict, list[str], str]:
    """(model, metric) -> row; the models; what to call the task."""
    scores = {(row["model"], row["metric"]): row for row in rows if row["task"] == task}
    return scores, list(dict.fromkeys(model for model, _ in scores)), short_name(task)


def _chance(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.3g}"


def _task_table(scores: dict, models: list[str], name: str) -> ReportTable:
    cells = [
        [title, _chance(scores[models[0], metric]["chance"]), *(percent(scores[model, metric]) for model in models)]
        for metric, title in TITLES.items()
    ]
    return ReportTable(f"{name}, %", ["task", "chance", *models], cells)


def _control_table(scores: dict, models: list[str], name: str, whole: bool = False) -> ReportTable:
    """A row a task and model: as it is, under each control, and what is known without measuring.

    For the terminal, the tasks of order alone and no intervals.
    """
    shown = percent if whole else lambda row: f"{100 * row['value']:.1f}"
    cells = [
        [
            _name(metric),
            model,
            *([str(scores[model, metric]["n"])] if whole else []),
            shown(scores[model, metric]),
            *(shown(scores[model, f"{metric}/{CONTROL}/{control}"]) for control in CONTROLS),
            _chance(scores[model, metric]["chance"]),
            _chance(scores[model, metric]["order_blind"]),
        ]
        for metric in (_CONTROLLED if whole else _OF_ORDER)
        for model in models
    ]
    names = [words for words, _ in CONTROLS.values()]
    heads = ["task", "model", *(["n"] if whole else []), "as it is", *names, "chance", "deaf to order"]
    return ReportTable(f"{name}: {'all ' * whole}controls, % (a tie counts as its share)", heads, cells)


def _name(metric: str) -> str:
    return metric.replace("_", " ").replace("/", " ")


def _connective_table(scores: dict, models: list[str], name: str) -> ReportTable:
    cells = []
    for words in CONNECTIVES:
        metric = metric_of(words)
        for model in models:
            row, agree = scores[model, metric], scores.get((model, f"{metric}/consistency"))
            answer = {True: "yes", False: "no", None: "unknown"}[row["trained_on"]]
            answer = "–" if "deviation" in row else answer
            cells.append([words, model, answer, percent(row), percent(agree) if agree else "–"])
    heads = ["connective", "model", "trained on", "order, %", "same verdict as “before”, %"]
    return ReportTable(f"{name}: connectives (chance 50 %)", heads, cells)


def scene_notes(tasks: Sequence) -> list[str]:
    """What the words of the tables stand for, where there are scenes."""
    if not any(isinstance(task, SceneSet) for task in tasks):
        return []
    controls = "; ".join(f"{words}: {what}" for words, what in CONTROLS.values())
    return [
        f"Scenes: ties count as wrong, in controls as their share. Controls: {controls}. Deaf to order: what a model "
        "reaches that is perfect but can't hear which sound comes first."
    ]


def scene_detail_tables(rows: Sequence[dict], results: dict[str, list]) -> list[ReportTable]:
    """The controls whole; pairs of classes that may occur in training and that may not; what is taken for what.

    Args:
        rows: of `compare`.
        results: model -> its result on each task.
    """
    tables = []
    for of_task in zip(*results.values(), strict=True):
        if isinstance(of_task[0], ZsteResult):
            scored = dict(zip(results, of_task, strict=True))
            of_rows = _of_task(rows, of_task[0].task)
            tables += [_control_table(*of_rows, whole=True), _pair_table(*of_rows), _confusion_table(scored)]
    return tables


def _pair_table(scores: dict, models: list[str], name: str) -> ReportTable:
    kinds = [(model, kind) for model in models for kind in ("seen", "unseen")]
    cells = []
    for metric in _CONTROLLED:
        found = [scores.get((model, f"{metric}/{kind}")) for model, kind in kinds]
        cells.append([_name(metric), *(percent(row) if row else "–" for row in found)])
    heads = ["task", *(f"{model}: {kind}" for model, kind in kinds)]
    return ReportTable(f"{name}: pairs of classes that training may hear (seen) and may not, %", heads, cells)


def _confusion_table(scored: dict[str, ZsteResult]) -> ReportTable:
    cells = [
        [relation, model, *map(str, counts)]
        for way, relation in enumerate(RELATIONS)
        for model, result in scored.items()
        for counts in [result.confusion[way].tolist()]
    ]
    name = short_name(next(iter(scored.values())).task)
    heads = ["heard", "model", *(f"said: {relation}" for relation in RELATIONS), "tie"]
    return ReportTable(f"{name}: 3B, scenes", heads, cells)


_TASKS = [metric for metric in MAIN_TASKS if not metric.startswith("6C")]  # a gap is no share
_NAMES = {"unseen_connectives": "unseen\nconnect."}
_COLORS = ("#5b3fd0", "#c2410c", "#17703a", "#0e7490", "#a21caf", "#a16207", "#475569", "#be123c")
_WIDTH = 0.8  # of a task's bars together


def draw_tasks(rows: Sequence[dict], task: str, path: Path | str) -> None:
    """Draws one set's tasks as PNG, with 95 % intervals, from the main process alone.

    Args:
        rows: of `compare`; the mean over several models is left out.
        task: the set's name.
        path: the file; an older one is replaced.
    """
    if not PartialState().is_main_process:
        return
    scores: dict[str, dict[str, dict]] = {}
    for row in rows:
        if row["task"] == task and "deviation" not in row:
            scores.setdefault(row["model"], {})[row["metric"]] = row
    first = next(iter(scores.values()))
    width = max(9.0, 0.17 * len(_TASKS) * (len(scores) + 1.5))
    with matplotlib.rc_context(FILE_STYLE):
        figure = Figure(figsize=(width, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for number, (model, of_model) in enumerate(scores.items()):
            _bars(axes, [of_model[metric] for metric in _TASKS], number, len(scores), model)
        places = np.arange(len(_TASKS))
        chance = [100 * first[metric]["chance"] for metric in _TASKS]
        half = _WIDTH / 2 + 0.04
        axes.hlines(chance, places - half, places + half, colors="#1b1e23", linewidth=1.2, label="chance")
        axes.set_xticks(places, [_NAMES.get(metric, metric) for metric in _TASKS])
        axes.set_xlim(-0.6, len(_TASKS) - 0.4)
        axes.set_ylim(0, 100)
        axes.set_ylabel("%")
        title = f"{short_name(task)}: {first['3C']['n']} scenes, {first['1A']['n']} single clips"
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=4, fontsize=8)
        save_chart(figure, path)


def _bars(axes: Axes, rows: list[dict], number: int, count: int, model: str) -> None:
    width = _WIDTH / count
    places = np.arange(len(rows)) - _WIDTH / 2 + (number + 0.5) * width
    values, low, high = (100 * np.array([row[key] for row in rows]) for key in ("value", "low", "high"))
    around = np.maximum([values - low, high - values], 0)
    color = _COLORS[number % len(_COLORS)]
    axes.bar(places, values, 0.9 * width, color=color, label=model)
    axes.errorbar(places, values, around, fmt="none", ecolor="#1b1e23", elinewidth=0.7, alpha=0.7)
