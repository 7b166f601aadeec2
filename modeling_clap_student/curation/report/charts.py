"""The report's charts, as SVG that takes its colours and its font from the page, light or dark."""

import io
import re
from dataclasses import dataclass, replace
from html import escape

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

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


@dataclass(frozen=True)
class Spread:
    """How similarities are spread over bins.

    Attributes:
        edges: (bins + 1,) ascending.
        kept: (bins,) int64, of the pairs.
        compared: (bins,) of all that was compared, whole numbers or estimates; None where that is not known.
        threshold: the cosine that decided; None where none did.
    """

    edges: np.ndarray
    kept: np.ndarray
    compared: np.ndarray | None
    threshold: float | None

    def occupied(self) -> "Spread":
        """The bins from the first to the last that holds anything; one of them if none does."""
        found = np.flatnonzero(self.kept if self.compared is None else self.kept + self.compared)
        first, last = (found[0], found[-1]) if len(found) else (0, 0)
        bins = slice(first, last + 1)
        compared = None if self.compared is None else self.compared[bins]
        return replace(self, edges=self.edges[first : last + 2], kept=self.kept[bins], compared=compared)

    @property
    def layers(self) -> list[tuple[np.ndarray, str]]:
        """What there is to draw, in which colours, the pairs in front."""
        layers = ((self.compared, _BAR), (self.kept, _ACCENT))
        return [(counts, color) for counts, color in layers if counts is not None and counts.any()]


def histogram_chart(spread: Spread, title: str) -> str:
    """How many pairs have which similarity. The title is for readers who can't see the chart."""
    spread = spread.occupied()
    starts = np.arange(0, len(spread.kept), -(-len(spread.kept) // _MAX_BARS))
    edges = np.append(spread.edges[starts], spread.edges[-1])
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": title}):  # the same chart is the same to the byte
        figure, axes = _axes("cosine of clip and caption", "pairs")
        for counts, color in spread.layers:
            axes.stairs(np.add.reduceat(counts, starts), edges, fill=True, color=color, linewidth=0)
        axes.set_ylim(0, max(1, axes.dataLim.y1) * 1.15)
        if spread.threshold is not None:
            _mark(axes, spread.threshold, f"threshold {spread.threshold:.3f}")
        return _svg(figure, title)


def kept_chart(spread: Spread, title: str) -> str:
    """How many pairs reach each similarity, on a log axis. The title is for readers who can't see the chart."""
    spread, num_pairs = spread.occupied(), int(spread.kept.sum())
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
    used = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", svg)
    for color, name in _PAGE_COLORS.items():
        svg = svg.replace(color, name)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
