"""Clips taken apart into windows, each an item of its own: `audio` names the recording and the part of it.

A table of windows has the columns `start` and `end` beside those of the clips: seconds, float64, null for a clip that
could not be opened. A clip that is no longer than a window stays what it is.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, IterableDataset, Value

from ..errors import ClipError, InputError
from ..utils.console import progress_bar, say
from ..windows_clap_student import Windows, as_seconds, part_name, split_part, without_part
from .decoding import open_clip
from .filters import column_of
from .streams import as_stream


WINDOW_COLUMNS = {"start": Value("float64"), "end": Value("float64")}
_ROWS_AT_ONCE = 1024
_ANY_RATE = 1000

Span = tuple[float, float]  # s


def cut_pool(pool: Dataset | IterableDataset, windows: Windows) -> Dataset | IterableDataset:
    """A pool's windows in place of its clips; a stream where the audio itself is in the table, which is not copied.

    Raises:
        InputError: no clip of a table is as long as a window.
    """
    if isinstance(pool, Dataset) and column_of(pool, "audio").field("bytes").null_count < len(pool):
        pool = as_stream(pool)
    if isinstance(pool, IterableDataset):
        features = Features(pool.features | WINDOW_COLUMNS)
        return pool.map(partial(_cut_row, windows=windows), batched=True, batch_size=1, features=features)
    table = cut_table(pool, windows, "the pool")
    check_lengths(table, windows, "the pool")
    return table


def cut_table(clips: Dataset, windows: Windows, name: str) -> Dataset:
    """A table's windows, in the order of its clips; of each clip the header is read.

    Args:
        clips: with `audio` and `audio_id`, and further columns, which all of a clip's windows have.
        windows: to make.
        name: what to call the table in messages.
    """
    rows, parts, whole = [], [], clips.with_format("arrow")[:]
    for row, spans in enumerate(_all_spans(clips, windows)):
        rows += [row] * len(spans)
        parts += _name_windows(whole["audio"][row]["path"].as_py(), whole["audio_id"][row].as_py(), spans)
    say(f"{name}: {len(clips)} clips are {len(rows)} windows of {windows}")
    paths, ids, starts, ends = zip(*parts, strict=True)
    table = whole.take(pa.array(rows, pa.int64()))
    audio = table["audio"].combine_chunks()
    audio = pa.StructArray.from_arrays([audio.field("bytes"), pa.array(paths, pa.string())], ["bytes", "path"])
    columns = dict(zip(table.column_names, table.columns, strict=True)) | {"audio": audio, "audio_id": pa.array(ids)}
    columns |= {"start": pa.array(starts, pa.float64()), "end": pa.array(ends, pa.float64())}
    features = Features(clips.features | WINDOW_COLUMNS)
    return Dataset(pa.table(columns).cast(features.arrow_schema), info=DatasetInfo(features=features))


def check_lengths(table: Dataset, windows: Windows, name: str) -> None:
    """Refuses windows that are longer than every clip of a table of them.

    Raises:
        InputError: they are.
    """
    longest = np.nanmax([np.nan, *(WindowPlaces(table).lengths)], initial=0)
    if 0 < longest < windows.seconds - 0.001:  # which is more than a sample
        raise InputError(
            f"--window_seconds {windows.seconds:g} is longer than every clip of {name}: the longest lasts "
            f"{longest:g} s. Give less, or leave it out"
        )


def _all_spans(clips: Dataset, windows: Windows) -> Iterator[list[Span | None]]:
    audio = iter(clips.select_columns(["audio"]))
    bar = progress_bar(range(0, len(clips), _ROWS_AT_ONCE), desc="windows", unit="kclip", disable=len(clips) < 10_000)
    with ThreadPoolExecutor() as threads:
        for _ in bar:
            batch = [row["audio"] for row in islice(audio, _ROWS_AT_ONCE)]
            yield from threads.map(partial(_spans, windows=windows), batch)


def _spans(audio: dict | None, windows: Windows) -> list[Span | None]:
    """Start and end of each window; None of a clip that can't be opened, for whoever embeds it will say why."""
    try:
        with open_clip(audio, _ANY_RATE) as clip:
            frames, rate = clip.source.frames, clip.source.rate
    except ClipError:
        return [None]
    return [(as_seconds(start, rate), as_seconds(stop, rate)) for start, stop in windows.bounds(frames, rate)]


def _name_windows(path: str | None, audio_id: str, spans: list[Span | None]) -> Iterator[tuple]:
    """Path, id, start and end of each window of a clip, which may be a part itself."""
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


def _cut_row(columns: dict[str, list], windows: Windows) -> dict[str, list]:
    """One clip of a stream as its windows, which share its bytes."""
    (audio,), (audio_id,) = columns["audio"], columns["audio_id"]
    path, data = (None, None) if audio is None else (audio["path"], audio["bytes"])
    spans = _spans(audio, windows)
    paths, ids, starts, ends = zip(*_name_windows(path, audio_id, spans), strict=True)
    rows = {name: values * len(spans) for name, values in columns.items()}
    if audio is not None:
        rows["audio"] = [{"bytes": data, "path": path} for path in paths]
    return rows | {"audio_id": list(ids), "start": list(starts), "end": list(ends)}


class WindowPlaces:
    """Which rows are windows of one recording, and where in it they lie.

    Args:
        clips: with `audio_id`, `start` and `end`.
    """

    def __init__(self, clips: Dataset):
        recordings = pa.array(map(without_part, clips["audio_id"][:])).dictionary_encode()
        self.recordings = recordings.indices.to_numpy()
        self.starts, self.ends = (np.array(clips[name][:], np.float64) for name in WINDOW_COLUMNS)

    def __len__(self) -> int:
        return len(self.recordings)

    @property
    def lengths(self) -> np.ndarray:
        """(rows,) seconds, NaN of a clip that could not be opened."""
        return self.ends - self.starts

    def overlap(self, row: int, other: int) -> bool:
        """Whether two windows have a part of one recording in common."""
        return bool(
            self.recordings[row] == self.recordings[other]
            and self.starts[row] < self.ends[other]
            and self.starts[other] < self.ends[row]
        )

    def touching(self, row: int) -> np.ndarray:
        """The rows of the windows that overlap a window or lie beside it, itself among them."""
        beside = (self.starts <= self.ends[row]) & (self.starts[row] <= self.ends)
        beside[row] = True  # one of which nothing is known
        return np.flatnonzero(beside & (self.recordings == self.recordings[row]))
