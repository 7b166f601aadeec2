"""The tasks of ZSTE as bars, a colour a model, beside what chance comes to."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from accelerate import PartialState
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...chart_style import FILE_STYLE, save_chart
from ...data.tasks import short_name
from .result import MAIN_TASKS


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


__all__ = ["draw_tasks"]
