"""Pools: audio without text, in the columns of `POOL_COLUMNS`. Labels, where a pool has some, are not read."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset, concatenate_datasets

from ..errors import InputError
from ..soundscapes import corpus as soundscapes
from .files import list_audio, same_name
from .filters import inside, with_audio, with_short_texts, without_repeated_clips
from .leakage import LeakageFilter
from .metadata import FILE_COLUMNS, METADATA, read_rows
from .naming import parse_source
from .published import PUBLISHED
from .recordings import ORIGIN_COLUMNS, origin_of
from .sources import ExclusionLog, Source, is_there, told_apart
from .streams import as_stream, read_stream
from .tables import AUDIO_SUFFIXES, POOL_COLUMNS, clip_table, hub_clips, load_table
from .tar_shards import read_tar_shards


def _read_folder(source: Source) -> Dataset:
    files = list_audio(source.path)
    if len(files) == 0:
        raise InputError(f"{source.path} holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))})")
    audio = pc.binary_join_element_wise(str(source.path), files, "/")
    return clip_table(source, audio, files, _origins(source, files))


def _origins(source: Source, files: pa.Array) -> pa.Array | None:
    """The recording of each file, where the folder's metadata tells it; nothing else of that is read."""
    table = next((path for name in METADATA if (path := source.path / name).is_file()), None)
    if table is None:
        return None
    try:
        rows = read_rows(table)
    except InputError:  # a list of something else, which a pool does not need
        return None
    file = next((name for name in FILE_COLUMNS if name in rows[0]), None)
    if file is None or not set(ORIGIN_COLUMNS) & set(rows[0]):
        return None
    known = {same_name(str(row[file])): origin_of(row) for row in rows}
    return pa.array([known.get(same_name(name)) for name in files.to_pylist()], pa.string())


def _read_soundscapes(source: Source) -> Dataset:
    rows = soundscapes.pool_clips(*source.parts)
    return clip_table(source, [uri for uri, _ in rows], [name for _, name in rows])


def _read_hub(source: Source) -> Dataset:
    tables = [load_table(source.path, split=split) for split in source.parts or ("train",)]
    return hub_clips(source, concatenate_datasets(tables))


READERS = {
    "audiofolder": _read_folder,
    "folder": _read_folder,
    "hub": _read_hub,
    "soundscapes": _read_soundscapes,
    "stream": read_stream,
    "webdataset": read_tar_shards,
    **{name: corpus.pool for name, corpus in PUBLISHED.items() if corpus.pool},
}


def _read_given(given: Dataset | list, exclusions: ExclusionLog) -> tuple[Source, Dataset] | None:
    """A table that was handed over, or a list of audio files; None for what names data."""
    if isinstance(given, Dataset):
        source = Source("audio", "hub", "audio", exclusions=exclusions)
        return source, hub_clips(source, given)
    paths = [] if isinstance(given, (str, Path)) else [Path(item) for item in given]
    if not all(path.suffix.lower() in AUDIO_SUFFIXES for path in paths) or not any(map(is_there, paths)):
        return None
    source = Source("audio", "folder", None, exclusions=exclusions, label="audio")
    return source, clip_table(source, [path.absolute() for path in paths], map(str, paths))


def read_pools(
    specs: str | Dataset | list, exclusions: ExclusionLog | None = None, leakage: LeakageFilter | None = None
) -> Dataset | IterableDataset:
    """Reads pools and joins them.

    Args:
        specs: as in `parse_source`, one or several; or a table, or a list of audio files.
        exclusions: gets the number of clips that were left out, and why.
        leakage: clips that are left out, of evaluation sets for instance. A stream still holds them.

    Returns:
        a table of `POOL_COLUMNS`, or a stream of such rows where one of the pools is a stream.

    Raises:
        InputError: a spec that can't be read, or a part of it without clips.
    """
    exclusions = ExclusionLog() if exclusions is None else exclusions
    if given := _read_given(specs, replace(exclusions, allow_outside_paths=True)):
        source, pool = given
        return _usable(pool, source, leakage or LeakageFilter())
    specs = [str(specs)] if isinstance(specs, (str, Path)) else specs
    sources = told_apart([parse_source(spec, READERS, "a pool of audio", columns=("audio",)) for spec in specs])
    pools = []
    for source in sources:
        source = replace(source, exclusions=exclusions)
        pool = READERS[source.layout](source)
        pools.append(pool if isinstance(pool, IterableDataset) else _usable(pool, source, leakage or LeakageFilter()))
    if any(isinstance(pool, IterableDataset) for pool in pools):
        pools = [as_stream(pool) if isinstance(pool, Dataset) else pool for pool in pools]
    return concatenate_datasets(pools)


def _usable(table: Dataset, source: Source, leakage: LeakageFilter) -> Dataset:
    spec, exclusions = source.spec, source.exclusions
    table, total = table.select_columns(list(POOL_COLUMNS)), len(table)
    table = with_short_texts(inside(table, source), spec, exclusions)
    if source.layout in PUBLISHED and PUBLISHED[source.layout].lists_clips:
        table = with_audio(table, spec, exclusions)
        if total > len(table) == 0:
            raise InputError(f"{spec} lists {total} clips, but not one of their files is there")
    table = leakage.drop_from(without_repeated_clips(table, spec, exclusions), spec, exclusions)
    if len(table) == 0:
        raise InputError(f"{spec} holds no clips{' that are not left out' * (total > 0)}")
    return table
