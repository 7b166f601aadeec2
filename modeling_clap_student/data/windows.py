"""Cuts clips into windows. Each window is an item of its own: `audio` names the recording and the part of it.

A table of windows also has the columns `start` and `end`: seconds, float64, null for a clip that could not be opened.
A clip that is no longer than a window is not changed.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetInfo, Features, IterableDataset, Value

from ..errors import ClipError, InputError
from ..utils.console import progress_bar
from ..windows_clap_student import Windows, as_seconds, part_name, split_part, without_part
from .decoding import open_clip
from .filters import column_of
from .streams import as_stream


WINDOW_COLUMNS = {"start": Value("float64"), "end": Value("float64")}
_ROWS_AT_ONCE = 1024
_ANY_RATE = 1000

Span = tuple[float, float]  # s


def cut_pool(pool: Dataset | IterableDataset, windows: Windows) -> Dataset | IterableDataset:
    """Replaces a pool's clips by their windows. If the table holds the audio itself, a stream saves copying it.

    Raises:
        InputError: no clip of a table is as long as a window.
    """
    if isinstance(pool, Dataset) and column_of(pool, "audio").field("bytes").null_count < len(pool):
        pool = as_stream(pool)
    if isinstance(pool, IterableDataset):
        features = Features(pool.features | WINDOW_COLUMNS)
        return pool.map(partial(_cut_row, windows=windows), batched=True, batch_size=1, features=features)
    spans = window_spans(pool, windows)
    check_lengths([span for clip in spans for span in clip], windows, "the pool")
    return _as_table(pool, spans)


def window_spans(clips: Dataset, windows: Windows) -> list[list[Span | None]]:
    """Start and end of each window of each clip, s; None for a clip that can't be opened. Reads only headers."""
    audio, spans = iter(clips.select_columns(["audio"])), []
    bar = progress_bar(range(0, len(clips), _ROWS_AT_ONCE), desc="windows", unit="kclip", disable=len(clips) < 10_000)
    with ThreadPoolExecutor() as threads:
        for _ in bar:
            batch = [row["audio"] for row in islice(audio, _ROWS_AT_ONCE)]
            spans += threads.map(partial(_spans, windows=windows), batch)
    return spans


def check_lengths(spans: Iterable[Span | None], windows: Windows, name: str) -> None:
    """Refuses windows that are longer than every clip.

    Args:
        spans: all windows of a table; errors call it `name`.

    Raises:
        InputError: every clip is shorter than a window.
    """
    longest = max((span[1] - span[0] for span in spans if span is not None and None not in span), default=0)
    if 0 < longest < windows.seconds - 0.001:  # 1 ms is more than a sample
        raise InputError(
            f"--window_seconds {windows.seconds:g} is longer than every clip of {name}: the longest lasts "
            f"{longest:g} s. Give less, or leave it out"
        )


def _as_table(clips: Dataset, spans: list[list[Span | None]]) -> Dataset:
    """The windows of clips that are files, in the order of the clips."""
    rows = np.repeat(np.arange(len(clips)), [len(of_clip) for of_clip in spans])
    paths = pc.struct_field(column_of(clips, "audio"), "path").to_pylist()
    named = map(_name_windows, paths, clips["audio_id"][:], spans)
    paths, ids, starts, ends = zip(*chain.from_iterable(named), strict=True)
    table = clips.with_format("arrow")[:].take(pa.array(rows))
    audio = column_of(clips, "audio").take(pa.array(rows))
    audio = pa.StructArray.from_arrays(
        [audio.field("bytes"), pa.array(paths, pa.string())], ["bytes", "path"], mask=audio.is_null()
    )
    columns = dict(zip(table.column_names, table.columns, strict=True)) | {"audio": audio, "audio_id": pa.array(ids)}
    columns |= {"start": pa.array(starts, pa.float64()), "end": pa.array(ends, pa.float64())}
    features = Features(clips.features | WINDOW_COLUMNS)
    return Dataset(pa.table(columns).cast(features.arrow_schema), info=DatasetInfo(features=features))


def iter_windows(clips: Dataset, spans: list[list[Span | None]], first: int, stop: int) -> Iterator[dict]:
    """Some windows of a table, as rows of `audio`, `audio_id`, `start` and `end`. A clip's windows share its bytes.

    Args:
        clips: with `audio` and `audio_id`.
        spans: from `window_spans`.
        first, stop: positions, counted through the windows of all clips.
    """
    count = 0
    for row, of_clip in enumerate(spans):
        begin, count = count, count + len(of_clip)
        if first < count and begin < stop:
            clip = clips[row]
            rows = _cut(clip["audio"], clip["audio_id"], of_clip)
            yield from islice(rows, max(0, first - begin), stop - begin)


def _spans(audio: dict | None, windows: Windows) -> list[Span | None]:
    """Start and end of each window. None for a clip that can't be opened: whoever embeds it will say why."""
    try:
        with open_clip(audio, _ANY_RATE) as clip:
            frames, rate = clip.source.frames, clip.source.rate
    except ClipError:
        return [None]
    return [(as_seconds(start, rate), as_seconds(stop, rate)) for start, stop in windows.bounds(frames, rate)]


def _name_windows(path: str | None, audio_id: str, spans: list[Span | None]) -> Iterator[tuple]:
    """Path, id, start and end of each window of a clip. The clip may be a part itself."""
    _, clip = split_part(path or "")
    offset = 0.0 if clip is None else clip[0]
    for span in spans:
        if span is None:
            yield path, audio_id, None, None
            continue
        start, end = (round(offset + time, 6) for time in span)
        if len(spans) == 1:
            yield path, audio_id, start, end
        else:
            part = part_name(start, end)
            yield without_part(path or "") + part, without_part(audio_id) + part, start, end


def _cut(audio: dict | None, audio_id: str, spans: list[Span | None]) -> Iterator[dict]:
    whole = audio or {"bytes": None, "path": None}
    for path, name, start, end in _name_windows(whole["path"], audio_id, spans):
        part = None if audio is None else {"bytes": whole["bytes"], "path": path}
        yield {"audio": part, "audio_id": name, "start": start, "end": end}


def _cut_row(columns: dict[str, list], windows: Windows) -> dict[str, list]:
    """One clip of a stream, as its windows."""
    (audio,), (audio_id,) = columns["audio"], columns["audio_id"]
    rows = list(_cut(audio, audio_id, _spans(audio, windows)))
    shared = {name: values * len(rows) for name, values in columns.items()}
    return shared | {name: [row[name] for row in rows] for name in rows[0]}


class WindowPlaces:
    """Which rows are windows of one recording, and where they lie in it.

    Args:
        clips: with `audio_id`, `start` and `end`.
    """

    def __init__(self, clips: Dataset):
        recordings = pa.array(map(without_part, clips["audio_id"][:])).dictionary_encode()
        self.recordings = recordings.indices.to_numpy()
        self.starts, self.ends = (np.array(clips[name][:], np.float64) for name in WINDOW_COLUMNS)

    def __len__(self) -> int:
        return len(self.recordings)

    def overlap(self, row: int, other: int) -> bool:
        """Whether two windows share a part of one recording."""
        return bool(
            self.recordings[row] == self.recordings[other]
            and self.starts[row] < self.ends[other]
            and self.starts[other] < self.ends[row]
        )

    def touching(self, row: int) -> np.ndarray:
        """The rows of the windows that overlap a window or lie beside it, including itself."""
        beside = (self.starts <= self.ends[row]) & (self.starts[row] <= self.ends)
        beside[row] = True  # a window without known times
        return np.flatnonzero(beside & (self.recordings == self.recordings[row]))
