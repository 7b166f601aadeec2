"""Pools: audio without text, in the columns of `POOL_COLUMNS`. Labels, where a pool has some, are not read."""

from dataclasses import replace

import pyarrow.compute as pc
from datasets import Dataset, IterableDataset, Value, concatenate_datasets

from ..errors import InputError
from . import soundscapes
from .columns import find_column
from .excluded import Excluded
from .filters import with_audio, without_repeated_clips
from .leakage import KeptOut
from .naming import parse_source
from .origins import ORIGIN_COLUMNS, origin_of
from .published import PUBLISHED
from .scanning import list_audio
from .sources import Source, told_apart
from .streams import as_stream, read_stream
from .tables import AUDIO_SUFFIXES, POOL_COLUMNS, UNDECODED, clip_table, load_table
from .tar_shards import read_tar_shards


def _read_folder(source: Source) -> Dataset:
    files = list_audio(source.path)
    if len(files) == 0:
        raise InputError(f"{source.path} holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))})")
    return clip_table(source, pc.binary_join_element_wise(str(source.path), files, "/"), files)


def _read_soundscapes(source: Source) -> Dataset:
    rows = soundscapes.pool_clips(*source.parts)
    return clip_table(source, [uri for uri, _ in rows], [name for _, name in rows])


def _read_hub(source: Source) -> Dataset:
    table = concatenate_datasets([load_table(source.path, split=split) for split in source.parts or ("train",)])
    audio, name = find_column(source, source.spec, table.column_names, "audio", "audio"), str(source.path)
    told = table.select_columns([column for column in ORIGIN_COLUMNS if column in table.column_names])
    table = table.select_columns([c for c in (audio, "audio_id", "source") if c in table.column_names])
    table = (table if audio == "audio" else table.rename_column(audio, "audio")).cast_column("audio", UNDECODED)
    if "audio_id" not in table.column_names:
        table = table.add_column("audio_id", [f"{name}/{i}" for i in range(len(table))])
    if "source" not in table.column_names:
        table = table.add_column("source", [name] * len(table))
    origins = [origin_of(row) for row in told] if told.column_names else [None] * len(table)
    return table.add_column("origin_id", origins, feature=Value("string"))


READERS = {
    "audiofolder": _read_folder,
    "folder": _read_folder,
    "hub": _read_hub,
    "soundscapes": _read_soundscapes,
    "stream": read_stream,
    "webdataset": read_tar_shards,
    **{name: corpus.pool for name, corpus in PUBLISHED.items() if corpus.pool},
}


def read_pools(
    specs: list[str], excluded: Excluded | None = None, kept_out: KeptOut | None = None
) -> Dataset | IterableDataset:
    """Reads pools and joins them.

    Args:
        specs: as in `parse_source`.
        excluded: gets the number of clips that were left out, and why.
        kept_out: clips that are left out, of evaluation sets for instance. A stream still holds them.

    Returns:
        a table of `POOL_COLUMNS`, or a stream of such rows where one of the pools is a stream.

    Raises:
        InputError: a spec that can't be read, or a part of it without clips.
    """
    excluded = Excluded() if excluded is None else excluded
    sources = told_apart([parse_source(spec, READERS, "a pool of audio", columns=("audio",)) for spec in specs])
    pools = []
    for source in sources:
        source = replace(source, excluded=excluded)
        pool = READERS[source.layout](source)
        pools.append(pool if isinstance(pool, IterableDataset) else _usable(pool, source, kept_out or KeptOut()))
    if any(isinstance(pool, IterableDataset) for pool in pools):
        pools = [as_stream(pool) if isinstance(pool, Dataset) else pool for pool in pools]
    return concatenate_datasets(pools)


def _usable(table: Dataset, source: Source, kept_out: KeptOut) -> Dataset:
    spec, excluded = source.spec, source.excluded
    table, total = table.select_columns(list(POOL_COLUMNS)), len(table)
    if source.layout in PUBLISHED and PUBLISHED[source.layout].lists_clips:
        table = with_audio(table, spec, excluded)
        if total > len(table) == 0:
            raise InputError(f"{spec} lists {total} clips, but not one of their files is there")
    table = kept_out.out_of(without_repeated_clips(table, spec, excluded), spec, excluded)
    if len(table) == 0:
        raise InputError(f"{spec} holds no clips{' that are not left out' * (total > 0)}")
    return table


__all__ = ["READERS", "read_pools"]
