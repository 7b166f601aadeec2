"""Heat maps of time × label for some long recordings in the report: one pixel row per label, and texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...data.decoding import open_clip
from ...utils.window_plot import as_grid, clock, spectrogram
from ..window_maps import WindowMap
from .pictures import data_uri, png_of, spectrogram_png


MOST_LABELS = 12
_COLUMNS = 800
_LEVELS = 32  # levels of opacity
_COLOR = (124, 92, 224)  # between the accent colours of light and dark pages
MAX_MAP_BYTES = (_COLUMNS * (64 + MOST_LABELS) + 4096) * 4 // 3


@dataclass(frozen=True)
class HeatMap:
    """A heat map as the page shows it."""

    recording: str
    labels: list[str]  # of the rows, from above
    total: int  # number of all labels
    scores: str  # data URI of a png: one row per label, more opaque where it is likelier
    spectrogram: str  # data URI of the recording's spectrogram, or empty
    times: list[str]  # its beginning, middle and end


def draw_maps(maps: Sequence[WindowMap]) -> list[HeatMap]:
    return [_draw(one) for one in maps]


def _draw(one: WindowMap) -> HeatMap:
    edges, names, values = as_grid(one.rows)
    best = np.sort(np.argsort(-values.max(axis=1), kind="stable")[:MOST_LABELS])
    times = [clock(seconds) for seconds in (edges[0], (edges[0] + edges[-1]) / 2, edges[-1])]
    scores = data_uri("image/png", _scores_png(edges, values[best]))
    return HeatMap(one.recording, [names[place] for place in best], len(names), scores, _spectrogram(one), times)


def _scores_png(edges: np.ndarray, values: np.ndarray) -> bytes:
    """(labels, windows) probabilities as evenly spaced columns. Of several windows in a column, the highest counts."""
    columns = edges[0] + (edges[-1] - edges[0]) * np.arange(_COLUMNS) / _COLUMNS
    cells = np.searchsorted(edges[1:-1], columns, side="right")
    levels = (np.maximum.reduceat(values, cells, axis=1) * (_LEVELS - 1)).round().astype(np.uint8)
    image = Image.fromarray(levels, "L")
    image.putpalette(_COLOR * _LEVELS)
    return png_of(image, transparency=bytes(round(255 * level / (_LEVELS - 1)) for level in range(_LEVELS)))


def _spectrogram(one: WindowMap) -> str:
    if one.audio is None:
        return ""
    try:
        with open_clip(one.audio, 1000) as clip:
            return data_uri("image/png", spectrogram_png(spectrogram(clip.source)))
    except Exception:  # any fault of one recording: still show its scores
        return ""
