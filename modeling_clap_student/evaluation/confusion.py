"""Which classes a model takes for which: as a matrix, as a picture, and as the pairs that are taken most."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
from accelerate import PartialState
from matplotlib.figure import Figure

from ..chart_style import FILE_STYLE, save_chart
from ..data.soundscapes import is_soundscape
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


__all__ = ["Confusion", "confusion_matrix", "confusion_rows", "draw_confusion", "most_confused", "show_confusion"]
