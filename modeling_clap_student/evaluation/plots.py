"""Pictures of an evaluation: confused classes, clips and classes in a plane, scores of scenes.

They are PNG files, drawn by the main process only. An older file is replaced.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
from accelerate import PartialState
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.benchmarks import short_name
from ..soundscapes.corpus import is_soundscape
from ..utils.charts import FILE_STYLE, save_chart
from .zero_shot import ZeroShotResult
from .zste.result import MAIN_TASKS


@contextmanager
def chart(path: Path | str, inches: tuple[float, float], style: dict) -> Iterator[Figure]:
    """A figure to draw on. It is saved at the end."""
    with matplotlib.rc_context(FILE_STYLE | style):
        figure = Figure(figsize=inches, layout="constrained")
        yield figure
        save_chart(figure, path)


@dataclass(frozen=True)
class Confusion:
    """Clips of one class that were classified as another."""

    label: str  # their true class
    predicted: str
    count: int
    share: float  # of the true class's clips
    clips: list[str]  # ids of some of them
    paths: list[str | None]  # their paths; None for a clip without its own file, as in a Hub dataset


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(classes, classes) int64: row the true class, column the predicted one."""
    pairs = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def most_confused(result: ZeroShotResult, most: int = 10, most_clips: int = 5) -> list[Confusion]:
    """The pairs of classes with the most clips of one classified as the other. Ties: the first classes."""
    names = result.benchmark.class_names
    matrix = confusion_matrix(result.truth, result.predicted, len(names))
    totals = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    confusions = []
    for cell in order[matrix.flat[order] > 0].tolist():
        label, predicted = divmod(cell, len(names))
        rows = result.rows[(result.truth == label) & (result.predicted == predicted)][:most_clips]
        clips, count = result.benchmark.clips.select(rows), int(matrix[label, predicted])
        paths = [_path(audio) for audio in clips["audio"]]
        share = float(count / totals[label])
        confusions.append(Confusion(names[label], names[predicted], count, share, clips["audio_id"][:], paths))
    return confusions


def _path(audio: dict) -> str | None:
    return None if audio["bytes"] is not None or is_soundscape(audio["path"]) else audio["path"]


def draw_confusion(results: Sequence[ZeroShotResult], path: Path | str) -> None:
    """Draws one benchmark's matrix. Each row shows shares of its class's clips, over all models together."""
    if not PartialState().is_main_process:
        return
    names = results[0].benchmark.class_names
    matrix = sum(confusion_matrix(result.truth, result.predicted, len(names)) for result in results)
    inches = 2.5 + max(2.5, 0.2 * len(names))
    with chart(path, (inches + 0.8, inches), {"axes.grid": False}) as figure:
        image = show_confusion(figure.add_subplot(), matrix, names)
        figure.colorbar(image, ax=figure.axes, shrink=0.6, label="share of the class")


def show_confusion(axes: Axes, matrix: np.ndarray, names: Sequence[str]):
    """Shows a matrix of counts as each class's shares, with per cent where there is room. Returns the image, for a
    colour bar."""
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    size = 8 if len(names) <= 20 else 6
    image = axes.imshow(shares, cmap="Purples", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) <= 20:
        for row, column in np.argwhere(shares >= 0.005):
            share = shares[row, column]
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=color)
    return image


_INCHES = 6.0  # of a panel
_FRAMED = {"axes.grid": False} | {f"axes.spines.{side}": True for side in ("left", "right", "top", "bottom")}


def plane(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """(n, 2) coordinates of vectors, and the method: UMAP where umap-learn is installed, else PCA.

    PCA: along the two directions of the largest variance, turned so that the largest entry of each is positive.
    """
    if find_spec("umap"):
        from umap import UMAP

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the warning that a seed limits it to one thread
            return UMAP(metric="cosine", random_state=seed).fit_transform(vectors), "UMAP"
    centred = vectors - vectors.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return centred @ (directions * np.sign(largest)).T, "PCA"


def draw_embeddings(results: dict[str, ZeroShotResult], path: Path | str, seed: int = 0) -> None:
    """Draws one benchmark's clips, coloured by class, and its classes: one panel per model.

    Each model has its own plane: the vectors of two models have nothing in common.
    """
    if not PartialState().is_main_process:
        return
    with chart(path, (_INCHES * len(results), _INCHES), _FRAMED) as figure:
        for number, (model, result) in enumerate(results.items(), start=1):
            axes = figure.add_subplot(1, len(results), number)
            method = _draw_plane(axes, result, seed)
            axes.set_title(f"{model}: {method}, {result.accuracy:.1%} right", loc="left", fontsize=9)


def _draw_plane(axes: Axes, result: ZeroShotResult, seed: int) -> str:
    names = result.benchmark.class_names
    points, method = plane(np.concatenate([result.clip_embeds, result.class_embeds]), seed)
    clips, classes = points[: len(result.rows)], points[len(result.rows) :]
    if len(names) <= 10:
        colors = matplotlib.colormaps["tab10"](np.arange(len(names)))
    else:
        colors = matplotlib.colormaps["turbo"](np.linspace(0.02, 0.98, len(names)))
    size = np.clip(5000 / len(clips), 4, 30)
    axes.scatter(*clips.T, s=size, c=colors[result.truth], alpha=0.5, linewidths=0)
    axes.scatter(*classes.T, s=60, c=colors, marker="*", edgecolors="black", linewidths=0.5)
    for name, place in zip(names, classes, strict=True):
        axes.annotate(name, place, xytext=(4, 3), textcoords="offset points", fontsize=7 if len(names) <= 20 else 5)
    axes.set_xticks([])
    axes.set_yticks([])
    return method


_TASKS = {metric: metric for metric in MAIN_TASKS if not metric.startswith("6C")}  # a gap is not a share
COLORS = ("#5b3fd0", "#c2410c", "#17703a", "#0e7490", "#a21caf", "#a16207", "#475569", "#be123c")
_INK = "#1b1e23"
_WIDTH = 0.8  # of all bars of a task


def draw_tasks(rows: Sequence[dict], task: str, path: Path | str, titles: Mapping[str, str] = _TASKS) -> None:
    """Draws the tasks of one set of scenes, with 95 % intervals.

    Args:
        rows: from `compare`, without models' means.
        titles: metric -> what is written below its bars.
    """
    if not PartialState().is_main_process:
        return
    scores: dict[str, dict[str, dict]] = {}
    for row in rows:
        if row["task"] == task and "deviation" not in row:
            scores.setdefault(row["model"], {})[row["metric"]] = row
    first = next(iter(scores.values()))
    width = max(9.0, 0.17 * len(titles) * (len(scores) + 1.5))
    with chart(path, (width, 4.0), {}) as figure:
        axes = figure.add_subplot()
        for number, (model, by_metric) in enumerate(scores.items()):
            _draw_bars(axes, [by_metric[metric] for metric in titles], number, len(scores), model)
        places = np.arange(len(titles))
        chance = [100 * first[metric]["chance"] for metric in titles]
        half = _WIDTH / 2 + 0.04
        axes.hlines(chance, places - half, places + half, colors=_INK, linewidth=1.2, label="chance")
        axes.set_xticks(places, list(titles.values()))
        axes.set_xlim(-0.6, len(titles) - 0.4)
        axes.set_ylim(0, 100)
        axes.set_ylabel("%")
        title = f"{short_name(task)}: {first['3C']['n']} scenes, {first['1A']['n']} single clips"
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=4, fontsize=8)


def _draw_bars(axes: Axes, rows: list[dict], number: int, count: int, model: str) -> None:
    width = _WIDTH / count
    places = np.arange(len(rows)) - _WIDTH / 2 + (number + 0.5) * width
    values, low, high = (100 * np.array([row[key] for row in rows]) for key in ("value", "low", "high"))
    reach = np.maximum([values - low, high - values], 0)
    axes.bar(places, values, 0.9 * width, color=COLORS[number % len(COLORS)], label=model)
    axes.errorbar(places, values, reach, fmt="none", ecolor=_INK, elinewidth=0.7, alpha=0.7)
