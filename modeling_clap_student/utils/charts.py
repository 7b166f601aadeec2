"""How the charts look: of the report, which gives them the page's colours, and those that are files of their own."""

from pathlib import Path

from matplotlib.figure import Figure

from .outputs import whole_file


MUTED = "#5c636d"


def chart_style(ink: str, muted: str, rule: str) -> dict:
    """matplotlib's settings for a chart of these colours: of text, of labels, and of lines behind the data."""
    return {
        "font.size": 9,
        "text.parse_math": False,  # names of classes and files are no formulas
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


# Of a chart that is a file of its own.
FILE_STYLE = chart_style(ink="#1b1e23", muted=MUTED, rule="#e2e2dc") | {"legend.frameon": False}


def save_chart(figure: Figure, path: Path | str) -> None:
    """Writes a PNG, whole or not at all; an older one is replaced."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=160)


def short_number(value: float) -> str:
    """1200 -> 1.2k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
