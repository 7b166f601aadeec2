"""Chooses the pairs that the report shows and plays. The pairs to judge are drawn as for a review."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ...soundscapes.corpus import holds_event
from ..sampling import can_be_reviewed, draw_pairs
from ..verdicts import COLUMNS, Judged, Verdicts, as_rows, identify
from .pictures import Excerpt, read_excerpt


_MAX_TEXT = 240  # characters of a caption, a name, a path
_MAX_FILE = 400_000  # characters of everything that is saved about the pairs to judge


def shorten(text: str | None) -> str:
    text = str(text or "")
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def as_floats(column: pa.ChunkedArray) -> np.ndarray:
    """(rows,) float32, NaN for null."""
    return column.cast(pa.float32()).to_numpy().astype(np.float32, copy=False)


@dataclass(frozen=True)
class Asked:
    """Pairs to judge.

    Attributes:
        rows: of the set.
        fields: the same pairs as rows of a file of verdicts.
        columns: of that file; empty if none can be used: pairs without the teacher's cosine, or overlong texts.
    """

    rows: list[int]
    fields: list[dict]
    columns: tuple[str, ...]


def asked_pairs(table: pa.Table, made_by: dict, count: int) -> Asked:
    """The first pairs that a review of the set would ask about. For a set without reviews, a uniform draw."""
    set_id = identify(made_by)
    if can_be_reviewed(made_by):
        draw = draw_pairs(table, count, set_id)
        fields = as_rows(Verdicts(set_id, draw.cuts, draw.pairs, len(draw.pairs)))
        if len(json.dumps(fields)) <= _MAX_FILE:
            return Asked(draw.rows.tolist(), fields, COLUMNS)
    rows = random_rows(len(table), count, made_by.get("seed") or 0)
    pairs = []
    for fields in table.take(rows).to_pylist():
        texts = [shorten(fields[key]) for key in ("audio_id", "caption", "label")]
        pairs.append(Judged(*texts, fields["similarity"] or 0.0, 0.5, len(table) / len(rows)))
    return Asked(rows, as_rows(Verdicts(set_id, (), tuple(pairs), len(pairs))), ())


def random_rows(total: int, count: int, seed: int) -> list[int]:
    """Different rows, drawn without regard to their content."""
    return np.random.default_rng(seed).choice(total, min(count, total), replace=False).tolist()


def nearest_rows(values: np.ndarray, threshold: float | None, count: int) -> list[int]:
    """The rows whose value is nearest to the threshold, or the lowest ones without a threshold. NaN counts as far
    away.

    Equally near rows keep their order.
    """
    distance = values if threshold is None else np.abs(values - np.float32(threshold))
    distance = np.nan_to_num(distance, nan=np.inf)
    count = min(count, len(distance))
    last = np.partition(distance, count - 1)[count - 1]
    # Of the rows that are as near as the last one, only as many as fit.
    rows = np.concatenate([np.flatnonzero(distance < last), np.flatnonzero(distance == last)])[:count]
    return rows[np.argsort(distance[rows], kind="stable")].tolist()


@dataclass(frozen=True)
class ShownPair:
    """A pair as the page shows it."""

    texts: dict[str, str]  # `caption`, `audio_id`, `label`, of bounded length; empty for null
    similarity: float  # NaN for null; so is the next
    label_similarity: float
    strength: float  # place of the similarity between the set's lowest (0) and highest (1)
    true: bool | None = None  # whether the clip holds the caption's sound, if known
    excerpt: Excerpt | None = None  # None where the clip can't be read
    problem: str = ""  # why it can't


def show_pairs(
    table: pa.Table, rows: Iterable[int], audio_of: Callable[[Sequence[int]], Iterable[dict | None]]
) -> dict[int, ShownPair]:
    """row -> its pair; each clip is read once."""
    rows = list(dict.fromkeys(rows))
    similarities = as_floats(table["similarity"])
    low, high = np.nanmin(similarities, initial=1), np.nanmax(similarities, initial=-1)
    pairs = {}
    for row, audio in zip(rows, audio_of(rows), strict=True):
        fields = table.slice(row, 1).to_pylist()[0]
        similarity, label_similarity = float(similarities[row]), fields["label_similarity"]
        pair = ShownPair(
            {key: shorten(fields[key]) for key in ("caption", "audio_id", "label")},
            similarity,
            np.nan if label_similarity is None else label_similarity,
            float(np.nan_to_num((similarity - low) / max(high - low, 1e-6))),
        )
        try:
            excerpt = read_excerpt(audio)
            pair = replace(pair, true=holds_event(audio.get("path") or "", fields["caption"]), excerpt=excerpt)
        except Exception as error:  # any fault of one clip: still show the other pairs
            pair = replace(pair, problem=shorten(f"{error}"))
        pairs[row] = pair
    return pairs
