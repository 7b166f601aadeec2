"""Draws the curves of a training: losses, retrieval and learning rate over its steps."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from accelerate import PartialState
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..utils.charts import FILE_STYLE, MUTED, save_chart, short_number


_TRAINING, _VALIDATION = "#5b3fd0", "#c2410c"
# One direction in warm colours, the other in cold ones. A deeper rank is lighter.
_DIRECTIONS = {
    "eval_audio_to_text_": ("audio to text", ["#4a2fb8", "#8a76e0", "#b9adf0", "#d6cff7"]),
    "eval_text_to_audio_": ("text to audio", ["#b03a08", "#e07b4c", "#efae8f", "#f6d2c1"]),
    "eval_recall": ("recall", ["#17703a", "#5da878", "#9acbad", "#c5e2d0"]),
}
_INCHES = (9.0, 3.4)  # of one row

Points = tuple[list[float], list[float]]


def draw_curves(log_history: Sequence[dict], path: Path | str) -> bool:
    """Draws what a training logged, as PNG, in the main process only. The file appears completely or not at all.

    Args:
        log_history: `trainer.state.log_history`: dicts with `step` and the values logged there.
        path: the file; an older one is replaced.

    Returns:
        whether there was a loss to draw.
    """
    curves = _curves(log_history)
    losses = {
        words: (curves[key], color)
        for key, words, color in (("loss", "training", _TRAINING), ("eval_loss", "validation", _VALIDATION))
        if key in curves
    }
    if not losses or not PartialState().is_main_process:
        return bool(losses)
    retrieval = _retrieval(curves)
    rows = 2 if retrieval else 1
    with matplotlib.rc_context(FILE_STYLE):
        figure = Figure(figsize=(_INCHES[0], rows * _INCHES[1]), layout="constrained")
        grid = figure.add_gridspec(rows, 2, width_ratios=[3, 1])
        _panel(figure.add_subplot(grid[0, 0]), "loss", losses)
        if retrieval:
            _panel(figure.add_subplot(grid[1, 0]), "retrieval", retrieval)
        if "learning_rate" in curves:
            _panel(figure.add_subplot(grid[0, 1]), "learning rate", {"": (curves["learning_rate"], MUTED)})
        last = max(max(steps) for steps, _ in curves.values())
        for axes in figure.axes:
            axes.set_xlim(0, 1.02 * max(last, 1))
        save_chart(figure, path)
    return True


def _curves(log_history: Sequence[dict]) -> dict[str, Points]:
    """key -> (steps, values) of all logged numbers. If one step has several values, the last one counts."""
    values: dict[str, dict[float, float]] = {}
    for entry in log_history:
        for key, value in entry.items():
            if "step" in entry and isinstance(value, int | float):
                values.setdefault(key, {})[entry["step"]] = value
    return {key: (list(points), list(points.values())) for key, points in values.items()}


def _retrieval(curves: dict[str, Points]) -> dict[str, tuple[Points, str]]:
    """Name in the legend -> (curve, colour)."""
    named = {}
    for start, (words, colors) in _DIRECTIONS.items():
        for number, key in enumerate(key for key in curves if key.startswith(start)):
            rank = key.removeprefix(start).strip("_")
            named[f"{words} {rank}".strip()] = (curves[key], colors[min(number, len(colors) - 1)])
    return named


def _panel(axes: Axes, title: str, curves: dict[str, tuple[Points, str]]) -> None:
    """One chart, with a legend if it has several curves."""
    for name, ((steps, values), color) in curves.items():
        marker = "o" if len(steps) < 30 else None  # a curve of one point is a point
        axes.plot(steps, values, color=color, label=name, linewidth=1.6, marker=marker, markersize=3)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    if len(curves) > 1:
        # The legend is beside the curves, never on them.
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
