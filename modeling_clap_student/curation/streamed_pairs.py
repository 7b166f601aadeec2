"""The pairs of a streamed pool: their clips are read a second time, straight into the Improvement-Set's files."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, IterableDataset
from datasets.distributed import split_dataset_by_node
from pyarrow.parquet import ParquetFile, ParquetWriter
from tqdm.auto import tqdm

from ..errors import InputError
from .improvement_set import FEATURES, ROWS_A_FILE, ROWS_A_GROUP, put_audio


def save_streamed_pairs(folder: Path, pairs: Dataset, clips: Dataset, stream: IterableDataset) -> None:
    """Writes the split `train` with its audio inside, each process the clips of its share, in the order of `pairs`.

    Of the audio a row group is held at a time. All processes must call it.

    Args:
        folder: of the Improvement-Set, which all processes see.
        pairs: of `FEATURES`, where `audio` is null.
        clips: what `embed_stream` returned for the stream.
        stream: the pool.

    Raises:
        InputError: a clip that was in the stream the first time is gone.
    """
    state = PartialState()
    data = folder / "data"
    if state.is_main_process:
        data.mkdir()
    state.wait_for_everyone()
    share = split_dataset_by_node(stream, rank=state.process_index, world_size=state.num_processes)
    rows_of = _rows_of(pairs, clips.select(np.flatnonzero(np.array(clips["share"][:]) == state.process_index)))
    columns = pairs.select_columns(list(FEATURES)).with_format("arrow")
    found = _found(share, rows_of, state.is_main_process)
    count = 0
    while some := list(islice(found, ROWS_A_GROUP)):
        file = data / f"part-{state.process_index:05d}-{count // ROWS_A_FILE:05d}.parquet"
        count += _write_file(file, columns, some, found)
    if (total := sum(gather_object([count]))) != len(pairs):
        raise InputError(f"{len(pairs) - total} pairs lost their clip: the pool has changed since it was embedded")
    if state.is_main_process:
        parts = sorted(data.glob("part-*.parquet"))
        for number, part in enumerate(parts):
            part.rename(data / f"train-{number:05d}-of-{len(parts):05d}.parquet")
    state.wait_for_everyone()


def _rows_of(pairs: Dataset, clips: Dataset) -> dict[str, list[int]]:
    """The rows of `pairs` for each clip."""
    wanted, rows = set(clips["audio_id"]), defaultdict(list)
    for row, audio_id in enumerate(pairs["audio_id"]):
        if audio_id in wanted:
            rows[audio_id].append(row)
    return rows


def _found(share: IterableDataset, rows_of: dict[str, list[int]], shows: bool) -> Iterator[tuple[int, dict]]:
    """(row of the pairs, audio), until all are found."""
    for clip in tqdm(share, desc="fetching the matched clips", unit="clip", disable=not shows):
        if not rows_of:
            break
        for row in rows_of.pop(clip["audio_id"], ()):
            yield row, clip["audio"]


def _write_file(path: Path, columns: Dataset, first: list[tuple[int, dict]], found: Iterator[tuple[int, dict]]) -> int:
    """Writes a file of at most `ROWS_A_FILE` rows, group by group; returns how many."""
    count, some = 0, first
    with ParquetWriter(path, FEATURES.arrow_schema) as writer:
        while some:
            writer.write_table(put_audio(columns[[row for row, _ in some]], [audio for _, audio in some]))
            count += len(some)
            some = list(islice(found, min(ROWS_A_GROUP, ROWS_A_FILE - count)))
    return count


def read_streamed_audio(folder: Path, pairs: Dataset, rows: Sequence[int]) -> Iterator[dict]:
    """The audio of some rows of `pairs`, undecoded, from the files that `save_streamed_pairs` wrote.

    A row group is in memory at a time. Of several processes' files the order is not that of `pairs`: a row is known by
    its clip and caption.
    """
    keys = ["audio_id", "caption_id"]
    wanted = [tuple(row.values()) for row in pairs.select_columns(keys).select(rows)]
    clips = pa.array(sorted({audio_id for audio_id, _ in wanted}))
    places = {}
    for path in sorted((folder / "data").glob("train-*.parquet")):
        with ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=keys)
                for n in np.flatnonzero(pc.is_in(table["audio_id"], clips)):
                    places[table["audio_id"][n].as_py(), table["caption_id"][n].as_py()] = path, group, int(n)
    for key in wanted:
        path, group, n = places[key]
        with ParquetFile(path) as file:
            yield file.read_row_group(group, columns=["audio"])["audio"][n].as_py()


__all__ = ["read_streamed_audio", "save_streamed_pairs"]
