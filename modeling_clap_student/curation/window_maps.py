"""Maps of where the labels are in the pool's longest recordings, from the embeddings of its windows."""

from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from ..data.windows import WindowPlaces
from ..errors import InputError
from ..utils.window_plot import PLACE_COLUMNS
from ..windows_clap_student import part_name, without_part
from .embedding_store import StoredVectors


NUM_MAPS = 3
_LEAST_WINDOWS = 3  # a map of fewer windows is not worth showing


@dataclass(frozen=True)
class WindowMap:
    """What a teacher hears in one recording.

    Attributes:
        recording: its `audio_id`.
        rows: for `plot_windows`: `start` and `end` of each window, s, and the probability of each label.
        audio: the part that the windows cover, undecoded; None for a stream, which can't be read again.
    """

    recording: str
    rows: list[dict[str, float]]
    audio: dict | None


def map_longest(
    clips: Dataset, clip_embeds: StoredVectors, label_embeds: np.ndarray, class_names: list[str], model
) -> list[WindowMap]:
    """The recordings with the most windows. Empty if the model gives no probabilities.

    Args:
        clips: windows, with `audio audio_id start end`.
        clip_embeds, label_embeds: (windows, dim), (classes, dim) unit vectors of them.
        model: the teacher, with `logit_scale`.
    """
    try:
        scale = float(model.logit_scale.detach().float().cpu().exp())
    except InputError:
        return []
    places, maps = WindowPlaces(clips), []
    counts = np.bincount(places.recordings)
    for recording in np.argsort(-counts, kind="stable")[:NUM_MAPS]:
        rows = np.flatnonzero((places.recordings == recording) & np.isfinite(places.starts))
        rows = rows[np.unique(places.starts[rows], return_index=True)[1]]
        if len(rows) < _LEAST_WINDOWS:
            continue
        logits = scale * (clip_embeds[rows].astype(np.float64) @ label_embeds.T.astype(np.float64))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        spans = list(zip(places.starts[rows].tolist(), places.ends[rows].tolist(), strict=True))
        names = [f"{name} (label)" if name in PLACE_COLUMNS else name for name in class_names]
        scores = [
            {"start": start, "end": end} | dict(zip(names, values, strict=True))
            for (start, end), values in zip(spans, shares.tolist(), strict=True)
        ]
        first = clips[int(rows[0])]
        path = (first["audio"] or {}).get("path")
        part = None if path is None else without_part(path) + part_name(spans[0][0], spans[-1][1])
        audio = None if part is None else {"bytes": None, "path": part}
        maps.append(WindowMap(without_part(first["audio_id"]), scores, audio))
    return maps
