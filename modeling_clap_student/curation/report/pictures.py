"""The report's pictures: charts as SVG in the page's colours, light or dark; excerpts of clips to hear and see."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape

import matplotlib
import numpy as np
import soundfile
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image
from transformers.audio_utils import mel_filter_bank

from ...data.decoding import open_clip
from ...utils.charts import chart_style, short_number


# Drawn in these colours; the page replaces them with its own.
_PAGE_COLORS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--bar)",
    "#050505": "var(--accent)",
    "#060606": "var(--mark)",
}
INK, MUTED, RULE, BAR, ACCENT, MARK = _PAGE_COLORS
_MAX_BARS = 110
# Inches. matplotlib would measure the words, which takes as long as drawing does.
_MARGINS = {"left": 0.62, "right": 0.1, "bottom": 0.5, "top": 0.1}
_INCHES = {"broad": (5.6, 3.1), "slim": (3.3, 2.5)}  # the page shows one of them, so that its text stays readable
_STYLE = {"svg.fonttype": "none"} | chart_style(INK, MUTED, RULE)  # text stays text

MAX_SECONDS = 10
RATE = 24_000
# Every browser plays mp3. At a constant rate its size is known before the audio is encoded.
BITS_A_SECOND = 40_000
_LEVEL_OF_40_KBIT = 0.8  # libsndfile's scale, from 160 kbit/s at 0 to 8 at 1, for 24 kHz

_COLUMNS, _MEL_BINS, _FREQUENCIES = 240, 64, (50, RATE // 2)
_N_FFT = 1024
_DECIBELS = 70  # below the loudest: black in the picture
_COLORS = 64  # more would look the same in a larger file

# The most bytes that a clip adds to the page. Pictures are smaller than their pixels, or not much larger.
MAX_CLIP_BYTES = (MAX_SECONDS * BITS_A_SECOND // 8 + _COLUMNS * _MEL_BINS + 2048) * 4 // 3


def similarity_charts(
    edges: np.ndarray, pairs: np.ndarray, compared: np.ndarray | None, threshold: float | None, titles: tuple[str, str]
) -> tuple[str, str]:
    """A chart of how many pairs have each similarity, and one of how many reach it, on a log axis.

    Args:
        edges: (bins + 1,) ascending.
        pairs: (bins,) int64, of the set.
        compared: (bins,) of all clips and captions, as whole numbers or estimates, if they are known.
        threshold: the cosine that decided, if one did.
        titles: for readers who can't see the charts.
    """
    occupied = np.flatnonzero(pairs if compared is None else pairs + compared)
    first, last = (occupied[0], occupied[-1]) if len(occupied) else (0, 0)
    edges, num_pairs = edges[first : last + 2], int(pairs.sum())
    layers = [(compared, BAR), (pairs, ACCENT)]  # the pairs in front
    layers = [(counts[first : last + 1], color) for counts, color in layers if counts is not None and counts.any()]

    def histogram(axes) -> None:
        starts = np.arange(0, len(edges) - 1, -(-(len(edges) - 1) // _MAX_BARS))
        for counts, color in layers:
            bars = np.add.reduceat(counts, starts)
            axes.stairs(bars, np.append(edges[starts], edges[-1]), fill=True, color=color, linewidth=0)
        axes.set_ylim(0, max(1, axes.dataLim.y1) * 1.15)
        if threshold is not None:
            _mark(axes, threshold, f"threshold {threshold:.3f}")

    def reaching(axes) -> None:
        axes.set_yscale("log")
        for counts, color in layers:
            first, last = np.flatnonzero(counts)[[0, -1]]
            numbers = counts[::-1].cumsum()[::-1][first : last + 1]
            axes.step(edges[first : last + 1], numbers, where="post", color=color, linewidth=2)
        axes.set_ylim(0.7, max(axes.dataLim.y1, 10) ** 1.15)  # room for words above the curve
        if threshold is not None:
            axes.plot([threshold], [num_pairs], "o", color=MARK, markersize=5)
            _mark(axes, threshold, f"{num_pairs:,} pairs at {threshold:.3f}")

    return (
        _chart(histogram, "cosine of clip and caption", "pairs", titles[0]),
        _chart(reaching, "threshold", "pairs at or above it", titles[1]),
    )


def _chart(draw: Callable, xlabel: str, ylabel: str, title: str) -> str:
    """The same chart in each of the sizes."""
    return "".join(chart_of(size, draw, xlabel, ylabel, title) for size in _INCHES)


def chart_of(size: str, draw: Callable, xlabel: str, ylabel: str, title: str) -> str:
    """SVG in the page's colours, `broad` or `slim`; `draw` fills the axes."""
    # The same chart gives the same bytes. Different charts name their parts differently.
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": f"{title} {size}"}):
        width, height = _INCHES[size]
        figure = Figure(figsize=(width, height))
        axes = figure.add_subplot()
        figure.subplots_adjust(
            left=_MARGINS["left"] / width,
            right=1 - _MARGINS["right"] / width,
            bottom=_MARGINS["bottom"] / height,
            top=1 - _MARGINS["top"] / height,
        )
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.margins(x=0.02)
        draw(axes)
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: short_number(value))
        )  # a log scale brings its own
        return svg_of(figure, title, size)


def _mark(axes, threshold: float, words: str) -> None:
    """A line, with its text on the side that has more room."""
    axes.axvline(threshold, color=MARK, linewidth=1.2, linestyle=(0, (4, 2)))
    on_the_left = threshold > sum(axes.get_xlim()) / 2
    axes.annotate(
        words,
        (threshold, 1),
        (-6 if on_the_left else 6, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        va="top",
        color=MARK,
    )


def svg_of(figure: Figure, title: str, kind: str) -> str:
    """Prepares an SVG for use inside a page: no namespaces, and no part names that could clash. `kind` is its
    class."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"|<metadata>.*?</metadata>', "", svg, flags=re.S)
    references = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in references else "", svg)
    for color, name in _PAGE_COLORS.items():
        svg = svg.replace(color, name)
    return svg.replace("<svg", f'<svg class="{kind}" role="img" aria-label="{escape(title)}"', 1)


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a clip, to hear and see."""

    audio: str  # data URI of an mp3
    spectrogram: str  # data URI of a png, log-mel
    seconds: float
    clip_seconds: float


def read_excerpt(audio: dict | None) -> Excerpt:
    """Decodes the first `MAX_SECONDS` of a clip in datasets' undecoded form, mono."""
    with open_clip(audio, RATE) as clip:
        length = clip.length
        samples = clip.read(0, min(length, MAX_SECONDS * RATE))
    return Excerpt(
        data_uri("audio/mpeg", _mp3(samples)),
        data_uri("image/png", spectrogram_png(_log_mel(samples))),
        len(samples) / RATE,
        length / RATE,
    )


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _mp3(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, samples.clip(-1, 1), RATE, format="MP3", compression_level=_LEVEL_OF_40_KBIT, bitrate_mode="CONSTANT"
    )
    return file.getvalue()


@lru_cache(maxsize=1)
def _mel_matrix() -> np.ndarray:
    return mel_filter_bank(_N_FFT // 2 + 1, _MEL_BINS, *_FREQUENCIES, RATE, norm="slaney", mel_scale="slaney")


def _log_mel(samples: np.ndarray) -> np.ndarray:
    """(samples,) -> (_MEL_BINS, _COLUMNS) decibels: a short clip has as many columns as a long one."""
    padded = np.pad(samples, _N_FFT // 2)
    starts = np.linspace(0, len(samples), _COLUMNS, endpoint=False).astype(int)
    frames = padded[starts[:, None] + np.arange(_N_FFT)] * np.hanning(_N_FFT)
    power = np.abs(np.fft.rfft(frames)) ** 2
    return 10 * np.log10(np.maximum(power @ _mel_matrix(), 1e-10)).T


def spectrogram_png(decibels: np.ndarray) -> bytes:
    """A png with a palette, low frequencies at the bottom, showing the `_DECIBELS` below the loudest."""
    level = (decibels - decibels.max()) / _DECIBELS + 1
    image = Image.fromarray((level.clip(0, 1) * (_COLORS - 1)).round().astype(np.uint8)[::-1].copy(), "L")
    palette = matplotlib.colormaps["magma"](np.linspace(0, 1, _COLORS), bytes=True)[:, :3]
    image.putpalette(palette.tobytes())
    return png_of(image)


def png_of(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)
    return file.getvalue()
