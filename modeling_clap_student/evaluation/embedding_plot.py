"""Clips and classes of a task in one plane, to see which lie among each other."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
from accelerate import PartialState
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..chart_style import FILE_STYLE, save_chart
from .zero_shot import ZeroShotResult


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


__all__ = ["draw_embeddings", "plane"]
