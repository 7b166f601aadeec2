"""The style of charts: of those in the report, which gives them the page's colours, and of those in files."""

from pathlib import Path

from matplotlib.figure import Figure

from .outputs import whole_file


MUTED = "#5c636d"


def chart_style(ink: str, muted: str, rule: str) -> dict:
    """matplotlib's settings for a chart with these colours, for text, for labels, and for lines behind the data."""
    return {
        "font.size": 9,
        "text.parse_math": False,  # names of classes and files are not formulas
        "text.color": ink,
        "axes.edgecolor": rule,
        "axes.labelcolor": muted,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "grid.color": rule,
        "grid.linewidth": 0.6,
        "xtick.color": rule,
        "xtick.labelcolor": muted,
        "ytick.color": rule,
        "ytick.labelcolor": muted,
        "ytick.major.size": 0,
        "ytick.minor.size": 0,
    }


# For a chart in a file of its own.
FILE_STYLE = chart_style(ink="#1b1e23", muted=MUTED, rule="#e2e2dc") | {"legend.frameon": False}


def save_chart(figure: Figure, path: Path | str) -> None:
    """Writes a PNG, completely or not at all. An older file is replaced."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=160)


def short_number(value: float) -> str:
    """1200 -> 1.2k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
