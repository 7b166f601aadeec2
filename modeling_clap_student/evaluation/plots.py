"""Pictures of an evaluation: which classes are taken for which, and where clips and classes lie."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
from accelerate import PartialState
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..soundscapes.corpus import is_soundscape
from ..utils.charts import FILE_STYLE, save_chart
from .zero_shot import ZeroShotResult


@dataclass(frozen=True)
class Confusion:
    """Clips of one class that were put into another.

    Attributes:
        label: their class.
        predicted: the one they were put into.
        count: how many.
        share: of the class's clips.
        clips: ids of some of them.
        paths: where these lie; None of one that has no file of its own, as in a Hub dataset.
    """

    label: str
    predicted: str
    count: int
    share: float
    clips: list[str]
    paths: list[str | None]


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(classes, classes) int64: row the true class, column the predicted one."""
    pairs = np.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def most_confused(result: ZeroShotResult, most: int = 10, most_clips: int = 5) -> list[Confusion]:
    """The pairs of classes with the most clips of one in the other; of equal ones the first classes.

    Args:
        result: of one model.
        most: pairs to return at most.
        most_clips: clips to name of each.
    """
    names = result.benchmark.class_names
    matrix = confusion_matrix(result.truth, result.predicted, len(names))
    totals = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:most]
    found = [divmod(int(cell), len(names)) for cell in order if matrix.flat[cell]]
    confusions = []
    for true, taken in found:
        rows = result.rows[(result.truth == true) & (result.predicted == taken)][:most_clips]
        clips, count = result.benchmark.clips.select(rows), int(matrix[true, taken])
        paths = [_path(audio) for audio in clips["audio"]]
        share = float(count / totals[true])
        confusions.append(Confusion(names[true], names[taken], count, share, clips["audio_id"][:], paths))
    return confusions


def _path(audio: dict) -> str | None:
    return None if audio["bytes"] is not None or is_soundscape(audio["path"]) else audio["path"]


def confusion_rows(result: ZeroShotResult) -> list[dict]:
    """`most_confused` for a json file."""
    return [asdict(pair) for pair in most_confused(result)]


def draw_confusion(results: Sequence[ZeroShotResult], path: Path | str) -> None:
    """Draws the matrix of one benchmark, over all models, as PNG, from the main process alone.

    Each row is the share of its class's clips, over all models together.
    """
    if not PartialState().is_main_process:
        return
    names = results[0].benchmark.class_names
    matrix = sum(confusion_matrix(result.truth, result.predicted, len(names)) for result in results)
    inches = 2.5 + max(2.5, 0.2 * len(names))
    with matplotlib.rc_context(FILE_STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(inches + 0.8, inches), layout="constrained")
        image = show_confusion(figure.add_subplot(), matrix, names)
        figure.colorbar(image, ax=figure.axes, shrink=0.6, label="share of the class")
        save_chart(figure, path)


def show_confusion(axes, matrix: np.ndarray, names: Sequence[str]):
    """Shows a matrix as each class's shares, in per cent where there is room; returns the image, for a colour bar.

    Args:
        axes: matplotlib's.
        matrix: (classes, classes) counts, as `confusion_matrix` makes them.
        names: of the classes.
    """
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    size = 8 if len(names) <= 20 else 6
    image = axes.imshow(shares, cmap="Purples", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) <= 20:
        _write_shares(axes, shares)
    return image


def _write_shares(axes, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=color)


_INCHES = 6.0  # a panel
_FRAMED = {"axes.grid": False} | {f"axes.spines.{side}": True for side in ("left", "right", "top", "bottom")}


def plane(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """(n, 2) coordinates of vectors, and how they were found: UMAP where umap-learn is installed, else PCA.

    PCA: along the two directions of the largest variance, turned so that the largest entry of each is positive.
    """
    if find_spec("umap"):
        from umap import UMAP

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a seed leaves one thread
            return UMAP(metric="cosine", random_state=seed).fit_transform(vectors), "UMAP"
    centred = vectors - vectors.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return centred @ (directions * np.sign(largest)).T, "PCA"


def draw_embeddings(results: dict[str, ZeroShotResult], path: Path | str, seed: int = 0) -> None:
    """Draws one benchmark's clips, points coloured by their class, and its classes, as PNG: a panel a model.

    Each model has a plane of its own: two models' vectors have nothing in common. From the main process alone.
    """
    if not PartialState().is_main_process:
        return
    with matplotlib.rc_context(FILE_STYLE | _FRAMED):
        figure = Figure(figsize=(_INCHES * len(results), _INCHES), layout="constrained")
        for number, (model, result) in enumerate(results.items(), start=1):
            axes = figure.add_subplot(1, len(results), number)
            method = _panel(axes, result, seed)
            axes.set_title(f"{model}: {method}, {result.accuracy:.1%} right", loc="left", fontsize=9)
        save_chart(figure, path)


def _panel(axes: Axes, result: ZeroShotResult, seed: int) -> str:
    names = result.benchmark.class_names
    points, method = plane(np.concatenate([result.clip_embeds, result.class_embeds]), seed)
    clips, classes = points[: len(result.rows)], points[len(result.rows) :]
    colors = _colors(len(names))
    size = np.clip(5000 / len(clips), 4, 30)
    axes.scatter(*clips.T, s=size, c=colors[result.truth], alpha=0.5, linewidths=0)
    axes.scatter(*classes.T, s=60, c=colors, marker="*", edgecolors="black", linewidths=0.5)
    for name, place in zip(names, classes, strict=True):
        axes.annotate(name, place, xytext=(4, 3), textcoords="offset points", fontsize=7 if len(names) <= 20 else 5)
    axes.set_xticks([])
    axes.set_yticks([])
    return method


def _colors(count: int) -> np.ndarray:
    """(count, 4), as different as so many can be."""
    if count <= 10:
        return matplotlib.colormaps["tab10"](np.arange(count))
    return matplotlib.colormaps["turbo"](np.linspace(0.02, 0.98, count))
