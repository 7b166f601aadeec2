"""What the report draws: charts as SVG in the page's colours, light or dark; clips as excerpts to hear and see."""

import base64
import io
import re
from dataclasses import dataclass, replace
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


# Drawn in these colours, which the page's own replace.
_PAGE_COLORS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--rule)",
    "#040404": "var(--bar)",
    "#050505": "var(--accent)",
    "#060606": "var(--mark)",
}
_INK, _MUTED, _RULE, _BAR, _ACCENT, _MARK = _PAGE_COLORS
_MAX_BARS = 110
_INCHES = (5.6, 3.1)
_STYLE = {"svg.fonttype": "none"} | chart_style(_INK, _MUTED, _RULE)  # text stays text

MAX_SECONDS = 10
RATE = 24_000
# mp3 is the one compressed format that every browser plays. At a constant rate its size is known before the audio is.
BITS_A_SECOND = 40_000
_LEVEL_OF_40_KBIT = 0.8  # libsndfile's scale, from 160 kbit/s at 0 to 8 at 1, for 24 kHz

_COLUMNS, _MEL_BINS, _FREQUENCIES = 240, 64, (50, RATE // 2)
_N_FFT = 1024
_DECIBELS = 70  # below the loudest, where a picture is black
_COLORS = 64  # more can't be told apart, but make the file larger

# The most that a clip adds to the page, in bytes. Pictures are smaller than their pixels, or not much larger.
MAX_CLIP_BYTES = (MAX_SECONDS * BITS_A_SECOND // 8 + _COLUMNS * _MEL_BINS + 2048) * 4 // 3


@dataclass(frozen=True)
class Spread:
    """How similarities are spread over bins."""

    edges: np.ndarray  # (bins + 1,) ascending
    pairs: np.ndarray  # (bins,) int64, of the set
    compared: np.ndarray | None  # (bins,) of all clips and captions, whole numbers or estimates, where they are known
    threshold: float | None  # the cosine that decided, if one did

    def occupied(self) -> "Spread":
        """The bins from the first to the last that holds anything; one of them if none does."""
        bins = np.flatnonzero(self.pairs if self.compared is None else self.pairs + self.compared)
        first, last = (bins[0], bins[-1]) if len(bins) else (0, 0)
        bins = slice(first, last + 1)
        compared = None if self.compared is None else self.compared[bins]
        return replace(self, edges=self.edges[first : last + 2], pairs=self.pairs[bins], compared=compared)

    @property
    def layers(self) -> list[tuple[np.ndarray, str]]:
        """Counts to draw and their colours, the pairs in front."""
        layers = ((self.compared, _BAR), (self.pairs, _ACCENT))
        return [(counts, color) for counts, color in layers if counts is not None and counts.any()]


def histogram_chart(spread: Spread, title: str) -> str:
    """How many pairs have which similarity. The title is for readers who can't see the chart."""
    spread = spread.occupied()
    starts = np.arange(0, len(spread.pairs), -(-len(spread.pairs) // _MAX_BARS))
    edges = np.append(spread.edges[starts], spread.edges[-1])
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": title}):  # the same chart is the same to the byte
        figure, axes = _axes("cosine of clip and caption", "pairs")
        for counts, color in spread.layers:
            axes.stairs(np.add.reduceat(counts, starts), edges, fill=True, color=color, linewidth=0)
        axes.set_ylim(0, max(1, axes.dataLim.y1) * 1.15)
        if spread.threshold is not None:
            _mark(axes, spread.threshold, f"threshold {spread.threshold:.3f}")
        return _svg(figure, title)


def reaching_chart(spread: Spread, title: str) -> str:
    """How many pairs reach each similarity, on a log axis. The title is for readers who can't see the chart."""
    spread, num_pairs = spread.occupied(), int(spread.pairs.sum())
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": title}):
        figure, axes = _axes("threshold", "pairs at or above it")
        axes.set_yscale("log")
        for counts, color in spread.layers:
            first, last = np.flatnonzero(counts)[[0, -1]]
            reaching = counts[::-1].cumsum()[::-1][first : last + 1]
            axes.step(spread.edges[first : last + 1], reaching, where="post", color=color, linewidth=2)
        axes.set_ylim(0.7, max(axes.dataLim.y1, 10) ** 1.15)  # room for words above the curve
        if spread.threshold is not None:
            axes.plot([spread.threshold], [num_pairs], "o", color=_MARK, markersize=5)
            _mark(axes, spread.threshold, f"{num_pairs:,} pairs at {spread.threshold:.3f}")
        return _svg(figure, title)


def _axes(xlabel: str, ylabel: str):
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.margins(x=0.02)
    return figure, axes


def _mark(axes, threshold: float, words: str) -> None:
    """A line, with words on the side that has more room."""
    axes.axvline(threshold, color=_MARK, linewidth=1.2, linestyle=(0, (4, 2)))
    on_the_left = threshold > sum(axes.get_xlim()) / 2
    axes.annotate(
        words,
        (threshold, 1),
        (-6 if on_the_left else 6, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        va="top",
        color=_MARK,
    )


def _svg(figure: Figure, title: str) -> str:
    """For inside a page, where names of formats are implied and the names of parts would clash."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"|<metadata>.*?</metadata>', "", svg, flags=re.S)
    references = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in references else "", svg)
    for color, name in _PAGE_COLORS.items():
        svg = svg.replace(color, name)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a clip."""

    audio: str  # data URI of an mp3
    spectrogram: str  # data URI of a png, log-mel
    seconds: float
    clip_seconds: float


def read_excerpt(audio: dict | None) -> Excerpt:
    """Decodes the first `MAX_SECONDS` of a clip, mono.

    Args:
        audio: datasets' undecoded form, `{"path": ..., "bytes": ...}`.

    Raises:
        ClipError: missing or damaged.
        InputError: no clip of the built-in corpus.
    """
    with open_clip(audio, RATE) as clip:
        length = clip.length
        samples = clip.read(0, min(length, MAX_SECONDS * RATE))
    return Excerpt(
        _data_uri("audio/mpeg", _mp3(samples)),
        _data_uri("image/png", _picture(_log_mel(samples))),
        len(samples) / RATE,
        length / RATE,
    )


def _data_uri(kind: str, content: bytes) -> str:
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
    """(samples,) -> (_MEL_BINS, _COLUMNS) decibels: as many columns for a short clip as for a long one."""
    padded = np.pad(samples, _N_FFT // 2)
    starts = np.linspace(0, len(samples), _COLUMNS, endpoint=False).astype(int)
    frames = padded[starts[:, None] + np.arange(_N_FFT)] * np.hanning(_N_FFT)
    power = np.abs(np.fft.rfft(frames)) ** 2
    return 10 * np.log10(np.maximum(power @ _mel_matrix(), 1e-10)).T


def _picture(decibels: np.ndarray) -> bytes:
    """A png with a palette, low frequencies below, of the `_DECIBELS` under the loudest."""
    level = (decibels - decibels.max()) / _DECIBELS + 1
    image = Image.fromarray((level.clip(0, 1) * (_COLORS - 1)).round().astype(np.uint8)[::-1].copy(), "L")
    palette = matplotlib.colormaps["magma"](np.linspace(0, 1, _COLORS), bytes=True)[:, :3]
    image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
