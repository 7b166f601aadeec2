"""Shows where in a recording a sound is: a picture of time × class, below the recording's spectrogram."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from transformers.audio_utils import hertz_to_mel, mel_filter_bank

from ..clips_clap_student import open_audio
from ..errors import InputError
from ..resampling_clap_student import Resampled
from .charts import FILE_STYLE


# Columns of `window_scores.csv` that are not classes.
PLACE_COLUMNS = ("task", "model", "audio_id", "start", "end")
_RATE, _N_FFT, _MEL_BINS, _LOWEST = 24_000, 1024, 64, 50
_COLUMNS, _MOST_FRAMES = 800, 4  # columns of the spectrogram; spectra that are averaged per column
_DECIBELS = 70  # below the loudest: black in the spectrogram
_FREQUENCIES = (300, 1000, 3000, 10_000)  # Hz, marked on the axis
_LONG = 120  # s; from here on, times are written as minutes
_STYLE: Any = (
    FILE_STYLE | {"axes.grid": False} | {f"axes.spines.{side}": True for side in ("left", "right", "top", "bottom")}
)


def plot_windows(
    scores, audio=None, title: str | None = None, sampling_rate: int | None = None, most_labels: int = 20
) -> Figure:
    """Draws where in a clip the sounds are.

    Each moment has the colour of the window whose middle is nearest.

    Args:
        scores: for one clip, the result of `classify(…, windows=…)`, or its rows of `window_scores.csv` as a
            DataFrame.
        audio, sampling_rate: the clip, as in `encode_audio`; its spectrogram is drawn above. None for no spectrogram.
        title: text above the picture.
        most_labels: if there are more, those with the highest probabilities are drawn.

    Returns:
        a figure, to show or to save: `figure.savefig("windows.png")`.

    Raises:
        InputError: scores that are not windows of one clip, or an unreadable clip.
    """
    rows = scores.to_dict("records") if hasattr(scores, "to_dict") else scores
    if audio is None:
        return draw_windows(rows, None, title, most_labels)
    with open_audio(audio, sampling_rate) as source:
        return draw_windows(rows, source, title, most_labels)


def draw_windows(rows: Sequence[Mapping], source=None, title: str | None = None, most_labels: int = 20) -> Figure:
    """The same for an open clip with `rate`, `frames` and `read(start, stop)`."""
    edges, names, values = as_grid(rows)
    total = len(names)
    if total > most_labels:
        best = np.sort(np.argsort(-values.max(axis=1), kind="stable")[:most_labels])
        names, values = [names[place] for place in best], values[best]
    has_sound = source is not None
    heights = [1.7] * has_sound + [0.35 + 0.2 * len(names)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, sum(heights) + 0.7), layout="constrained")
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=(1, 0.015))
        axes = figure.add_subplot(grid[-1, 0])
        image = _draw_scores(axes, edges, names, values)
        figure.colorbar(image, cax=figure.add_subplot(grid[-1, 1]), label="probability")
        if has_sound:
            above = figure.add_subplot(grid[0, 0], sharex=axes)
            above.tick_params(labelbottom=False)
            _draw_spectrogram(above, source)
        note = f"the {len(names)} most probable of {total} classes" if total > len(names) else ""
        if words := ": ".join(filter(None, (title, note))):
            figure.axes[-1 if has_sound else 0].set_title(words, loc="left", fontsize=10)
    return figure


def as_grid(rows: Sequence[Mapping]) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Edges of the windows' cells (windows + 1,) s, class names, and (classes, windows) probabilities."""
    is_table = isinstance(rows, Sequence) and len(rows) > 0 and all(isinstance(row, Mapping) for row in rows)
    if not is_table or not all({"start", "end"} <= row.keys() for row in rows):
        raise InputError(
            "scores is what classify(…, windows=…) gives for one clip: rows with start, end and the classes"
        )
    if len({tuple(row.get(name) for name in PLACE_COLUMNS[:3]) for row in rows}) > 1:
        raise InputError("scores holds rows of several clips, models or tasks: give those of one")
    starts, ends = (np.array([row[name] for row in rows], np.float64) for name in ("start", "end"))
    if (np.diff(starts) <= 0).any():
        raise InputError("scores holds windows that are not in the order of time: are they of one clip?")
    names = [name for name in rows[0] if name not in PLACE_COLUMNS]
    values = np.array([[row[name] for name in names] for row in rows], np.float64).T
    scored = np.asarray(~np.isnan(values).all(axis=1))  # a csv of several tasks also has other tasks' classes
    middles = (starts + ends) / 2
    edges = np.concatenate([starts[:1], (middles[1:] + middles[:-1]) / 2, ends[-1:]])
    return edges, [name for name, kept in zip(names, scored, strict=True) if kept], values[scored]


def _draw_scores(axes: Axes, edges: np.ndarray, names: Sequence[str], values: np.ndarray):
    image = axes.pcolormesh(edges, np.arange(len(names) + 1), values, cmap="Purples", vmin=0, vmax=1)
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8)
    axes.invert_yaxis()
    for place in range(1, len(names)):
        axes.axhline(place, color="white", linewidth=1)
    axes.set_xlim(edges[0], edges[-1])
    is_long = edges[-1] > _LONG
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 3, 6, 10] if is_long else [1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds) if is_long else f"{seconds:g}"))
    axes.set_xlabel("time" if is_long else "time, s")
    return image


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _draw_spectrogram(axes: Axes, source) -> None:
    decibels = spectrogram(source)
    highest = decibels.max()
    seconds = source.frames / source.rate
    axes.imshow(
        decibels.clip(highest - _DECIBELS), cmap="magma", origin="lower", aspect="auto", extent=(0, seconds, 0, 1)
    )
    frequencies = np.array([_LOWEST, *_FREQUENCIES, _RATE / 2], np.float64)
    low, *marks, high = np.asarray(hertz_to_mel(frequencies, "slaney"))
    axes.set_yticks([(mark - low) / (high - low) for mark in marks], [f"{f / 1000:g}" for f in _FREQUENCIES])
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylabel("kHz")


def spectrogram(source) -> np.ndarray:
    """(mel bins, columns) decibels of a source. In a long source, some spectra represent each column, to save memory.

    Args:
        source: with `rate`, `frames` and `read(start, stop)`.
    """
    clip = Resampled(source, _RATE)
    columns = min(_COLUMNS, max(1, clip.length // (_N_FFT // 4)))
    step = clip.length / columns
    frames = int(np.clip(step // _N_FFT, 1, _MOST_FRAMES))
    middles = ((np.arange(columns * frames) + 0.5) * step / frames).astype(np.int64).reshape(columns, frames)
    mels = mel_filter_bank(_N_FFT // 2 + 1, _MEL_BINS, _LOWEST, _RATE / 2, _RATE, norm="slaney", mel_scale="slaney")
    window = np.hanning(_N_FFT).astype(np.float32)
    powers = np.empty((columns, _MEL_BINS))
    for column, places in enumerate(middles.tolist()):
        spectra = np.fft.rfft(np.stack([_around(clip, place) for place in places]) * window, axis=1)
        powers[column] = (np.abs(spectra) ** 2).mean(axis=0) @ mels
    return 10 * np.log10(np.maximum(powers, 1e-10)).T


def _around(clip: Resampled, place: int) -> np.ndarray:
    """The samples around a position, with zeros beyond the clip's ends."""
    start = place - _N_FFT // 2
    begin, end = max(0, start), min(start + _N_FFT, clip.length)
    return np.pad(clip.read(begin, end), (begin - start, start + _N_FFT - end))
