"""What the tabs draw: bars of the models' answers, strips of time × class, spectrograms, sentences that went wrong."""

import io
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

import numpy as np
from PIL import Image

from ..classes_clap_student import NONE
from ..curation.report.pictures import data_uri, spectrogram_png
from ..utils import window_plot
from .models import Answer, Model


MOST_LABELS = 20  # that are drawn, the most probable ones
_COLUMNS = 600  # of a strip
_VIOLET, _GREY = (124, 92, 245), (128, 142, 158)  # of the first model and the second; legible on light and on dark


def complaint(error: Exception | str) -> str:
    """A sentence about what went wrong."""
    text = str(error).strip()
    return f'<p class="wrong" role="alert">{escape(text[:1].upper() + text[1:])}</p>'


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def keys(*names: str) -> str:
    """Which colour is whose."""
    spans = (f'<span class="key k{n}">{escape(name)}</span>' for n, name in enumerate(names))
    return f'<p class="legend">{"".join(spans)}</p>'


def bars(models: Sequence[Model], answers: Sequence[Answer]) -> str:
    """The answers of one clip, a bar a model and class, the first model's most probable class on top."""
    first = answers[0].shares
    labels = sorted(first, key=first.get, reverse=True)[:MOST_LABELS]
    rows = [_bar_row(label, [answer.shares[label] for answer in answers]) for label in labels]
    hidden = len(first) - len(labels)
    more = note(f"{hidden} less probable classes are not shown.") if hidden else ""
    none = ""
    if all(answer.none is not None for answer in answers):
        none = _bar_row(NONE, [answer.none for answer in answers], "none")
    whose = keys(*(model.role for model in models)) if len(models) > 1 else ""
    return f'{whose}<div class="bars">{"".join(rows)}{none}</div>{more}'


def _bar_row(label: str, shares: Sequence[float], kind: str = "") -> str:
    pairs = (
        f'<div class="bar k{n}"><i style="width:{100 * share:.1f}%"></i></div><b class="k{n}">{percent(share)}</b>'
        for n, share in enumerate(shares)
    )
    return f'<div class="answer {kind}"><span class="name">{escape(label)}</span><div>{"".join(pairs)}</div></div>'


def strips(
    models: Sequence[Model],
    labels: Sequence[str],
    spans: Sequence[tuple[float, float]],
    shares: np.ndarray,
    end: float,
) -> str:
    """Time × class, a strip a model and class.

    Args:
        labels: those that are drawn stand first.
        spans: start and end of each part that was heard so far, s.
        shares: (models, parts, labels) probabilities.
        end: of the recording, s.
    """
    rows = []
    for n in range(min(len(labels), MOST_LABELS)):
        strip = "".join(
            f'<div class="strip"><img src="{_strip(spans, of[:, n], end, color)}" alt="{_in_words(spans, of[:, n])}">'
            "<i></i></div>"
            for of, color in zip(shares, (_VIOLET, _GREY), strict=False)
        )
        rows.append(f'<div class="answer"><span class="name">{escape(labels[n])}</span><div>{strip}</div></div>')
    return f'<div class="strips">{"".join(rows)}{axis(end)}</div>'


def _strip(spans: Sequence[tuple[float, float]], shares: np.ndarray, end: float, color: tuple) -> str:
    """A data URI: each moment as opaque as the part is probable whose middle lies nearest to it."""
    middles = np.mean(spans, axis=1)
    times = (np.arange(_COLUMNS) + 0.5) * end / _COLUMNS
    nearest = np.searchsorted((middles[1:] + middles[:-1]) / 2, times)
    pixels = np.empty((1, _COLUMNS, 4), np.uint8)
    pixels[..., :3] = color
    pixels[..., 3] = np.where(times <= spans[-1][1], np.rint(255 * shares[nearest]), 0)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return data_uri("image/png", file.getvalue())


def _in_words(spans: Sequence[tuple[float, float]], shares: np.ndarray) -> str:
    best = int(shares.argmax())
    return f"most probable at {clock(spans[best][0])}: {percent(shares[best])}"


def axis(end: float) -> str:
    """Times below a picture of a recording."""
    ticks = "".join(f"<span>{clock(end * n / 4)}</span>" for n in range(5))
    return f'<div class="answer axis"><span class="name"></span><div>{ticks}</div></div>'


def clock(seconds: float) -> str:
    """2.5 -> 2.5 s, 75 -> 1:15, 3725 -> 1:02:05."""
    return f"{round(seconds, 2):g} s" if seconds < 60 else window_plot.clock(seconds)


def spectrogram_row(source) -> str:
    """The spectrogram of a source with `rate`, `frames` and `read`, as the first row above strips."""
    image = data_uri("image/png", spectrogram_png(window_plot.spectrogram(source)))
    return (
        '<div class="answer"><span class="name">spectrogram</span><div><div class="strip spectrogram">'
        f'<img src="{image}" alt="Log-mel spectrogram: 0 to 12 kHz"><i></i></div></div></div>'
    )


def player(address: str, label: str, plays: bool = False) -> str:
    """The browser's own player; of what is soon to be played the sound is fetched at once."""
    preload = "auto" if plays else "none"
    return f'<audio controls preload="{preload}" src="{quote(address)}" aria-label="{escape(label)}"></audio>'


def dictionary(rows: Mapping[str, str]) -> str:
    """Names and what belongs to them."""
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())
    return f"<dl>{cells}</dl>"
