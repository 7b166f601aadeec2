"""Pools: audio without text, in the columns of `POOL_COLUMNS`. A pool's labels, if it has any, are not read."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset

from ..errors import InputError
from ..soundscapes.corpus import pool_clips
from ..utils.console import say
from .files import list_audio, same_name
from .filters import with_audio, with_files_inside, with_short_texts, without_repeated_clips
from .identity import ORIGIN_COLUMNS, origin_of
from .leakage import LeakageFilter
from .naming import parse_source
from .published import PUBLISHED
from .sources import ExclusionLog, Source, is_there, with_distinct_names
from .streams import join, read_stream, read_tar_shards
from .tables import AUDIO_SUFFIXES, POOL_COLUMNS, clip_table, hub_clips, load_splits
from .texts import FILE_COLUMNS, METADATA, read_rows


def _read_folder(source: Source) -> Dataset:
    files = list_audio(source.path)
    if len(files) == 0:
        raise InputError(f"{source.path} holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))})")
    audio = pc.binary_join_element_wise(str(source.path), files, "/")
    return clip_table(source, audio, files, _origins(source, files))


def _origins(source: Source, files: pa.Array) -> pa.Array | None:
    """The recording of each file, if the folder's metadata names it. Nothing else in it is read."""
    table = next((path for name in METADATA if (path := source.path / name).is_file()), None)
    if table is None:
        return None
    try:
        rows = read_rows(table)
    except InputError as error:  # the pool works without it, but leakage checks then know no recordings
        say(f"caution: {error}; the pool is read without it, so the recordings of its clips are unknown")
        return None
    file = next((name for name in FILE_COLUMNS if name in rows[0]), None)
    if file is None or not set(ORIGIN_COLUMNS) & set(rows[0]):
        return None
    origins = {same_name(str(row[file])): origin_of(row) for row in rows}
    return pa.array([origins.get(same_name(name)) for name in files.to_pylist()], pa.string())


READERS = {
    "audiofolder": _read_folder,
    "folder": _read_folder,
    "hub": lambda source: hub_clips(source, load_splits(source)),
    "soundscapes": lambda source: clip_table(source, *zip(*pool_clips(*source.parts), strict=True)),
    "stream": read_stream,
    "webdataset": read_tar_shards,
    **{name: corpus.pool for name, corpus in PUBLISHED.items() if corpus.pool},
}


def _read_data(data: Dataset | list, exclusions: ExclusionLog) -> tuple[Source, Dataset] | None:
    """A table or a list of audio files from Python; None for a name of data."""
    if isinstance(data, Dataset):
        source = Source("audio", "hub", "audio", exclusions=exclusions)
        return source, hub_clips(source, data)
    paths = [] if isinstance(data, (str, Path)) else [Path(item) for item in data]
    if not all(path.suffix.lower() in AUDIO_SUFFIXES for path in paths) or not any(map(is_there, paths)):
        return None
    source = Source("audio", "folder", None, exclusions=exclusions, label="audio")
    return source, clip_table(source, [path.absolute() for path in paths], map(str, paths))


def read_pools(
    specs: str | Dataset | list, exclusions: ExclusionLog | None = None, leakage: LeakageFilter | None = None
) -> Dataset | IterableDataset:
    """Reads pools and joins them. The result is a stream if one of them is a stream.

    `specs` are one or several as in `parse_source`, or a table, or a list of audio files. A stream still holds the
    clips that `leakage` keeps out of tables.
    """
    exclusions, leakage = exclusions or ExclusionLog(), leakage or LeakageFilter()
    if data := _read_data(specs, replace(exclusions, allow_outside_paths=True)):
        return _usable(*data, leakage)
    specs = [str(specs)] if isinstance(specs, (str, Path)) else specs
    sources = [parse_source(spec, READERS, "a pool of audio", columns=("audio",)) for spec in specs]
    pools = []
    for source in with_distinct_names(sources):
        source = replace(source, exclusions=exclusions)
        pool = READERS[source.layout](source)
        pools.append(pool if isinstance(pool, IterableDataset) else _usable(source, pool, leakage))
    return join(pools)


def _usable(source: Source, table: Dataset, leakage: LeakageFilter) -> Dataset:
    spec, exclusions = source.spec, source.exclusions
    table, total = table.select_columns(list(POOL_COLUMNS)), len(table)
    table = with_short_texts(with_files_inside(table, source), spec, exclusions)
    if source.layout in PUBLISHED and PUBLISHED[source.layout].lists_clips:
        table = with_audio(table, spec, exclusions)
        if total > len(table) == 0:
            raise InputError(f"{spec} lists {total} clips, but not one of their files is there")
    table = leakage.drop_from(without_repeated_clips(table, spec, exclusions), spec, exclusions)
    if len(table) == 0:
        raise InputError(f"{spec} holds no clips{' that are not left out' * (total > 0)}")
    return table
