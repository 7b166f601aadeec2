"""Counts what a run would read: pairs, clips, captions and hours."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset

from ..data.decoding import open_clip
from ..data.filters import column_of
from ..errors import ClipError


_SAMPLE = 300  # clips whose length is read; the hours of larger sets are estimated from them


@dataclass(frozen=True)
class Summary:
    """The numbers of one table or stream of clips.

    Attributes:
        rows: pairs or clips; None for a stream, which nobody has counted.
        clips: different clips with audio; None if there are only texts.
        captions: different captions; None without captions.
        hours: of the different clips.
        looked_up: clips whose length was read for the hours. If fewer than `clips`, the hours are an estimate.
        unreadable: how many of those can't be read.
    """

    rows: int | None
    clips: int | None
    captions: int | None
    hours: float | None
    looked_up: int = 0
    unreadable: int = 0

    def cells(self) -> list[str]:
        """For a table: rows, clips, captions, hours."""
        hours = "–"
        if self.hours is not None:
            about = "≈ " if self.looked_up < self.clips else ""
            hours = f"{about}{self.hours:,.{2 if self.hours < 10 else 0}f}"
        bad = f" ({self.unreadable} of {self.looked_up} looked at can't be read)" if self.unreadable else ""
        return [*("–" if n is None else f"{n:,}" for n in (self.rows, self.clips, self.captions)), hours + bad]


def summarise(data: Dataset | IterableDataset) -> Summary:
    """Counts a table, and estimates its hours from the headers of some clips. It takes seconds for any size."""
    if isinstance(data, IterableDataset):
        return Summary(None, None, None, None)
    captions = pc.count_distinct(column_of(data, "caption")).as_py() if "caption" in data.column_names else None
    if "audio" not in data.column_names:
        return Summary(len(data), None, captions, None)
    ids, audio = column_of(data, "audio_id").dictionary_encode(), column_of(data, "audio")
    _, clips = np.unique(ids.indices.to_numpy(), return_index=True)
    clips = clips[pc.is_valid(audio).to_numpy(zero_copy_only=False)[clips]]
    if len(clips) == 0:
        return Summary(len(data), 0, captions, 0.0)
    sample = np.sort(np.random.default_rng(0).permutation(clips)[:_SAMPLE])
    with ThreadPoolExecutor() as threads:
        lengths = list(threads.map(_seconds, data.select_columns(["audio"]).select(sample)))
    readable = [length for length in lengths if length is not None]
    hours = np.mean(readable) * len(clips) / 3600 if readable else 0.0
    return Summary(len(data), len(clips), captions, float(hours), len(sample), len(lengths) - len(readable))


def _seconds(row: dict) -> float | None:
    """The length of a clip, from its header; None if it can't be opened."""
    try:
        with open_clip(row["audio"], 1000) as clip:
            return clip.source.frames / clip.source.rate
    except ClipError:
        return None
