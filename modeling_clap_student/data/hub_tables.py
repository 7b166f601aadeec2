"""Clips of a Hub dataset, or of a folder of one: whatever its columns are called, in those of this package."""

from datasets import Dataset, Value

from .columns import find_column
from .sources import Source
from .tables import POOL_COLUMNS, UNDECODED


def hub_clips(source: Source, table: Dataset) -> Dataset:
    """The clips of a Hub dataset's rows, with the columns of `POOL_COLUMNS`; `audio` is not decoded.

    A row without an `audio_id` is called after the dataset and its number.

    Raises:
        InputError: no column holds the audio.
    """
    audio = find_column(source, source.spec, table.column_names, "audio", "audio")
    name = str(source.path)
    if "audio_id" not in table.column_names:
        table = table.add_column("audio_id", [f"{name}/{i}" for i in range(len(table))])
    if "source" not in table.column_names:
        table = table.add_column("source", [name] * len(table))
    if "origin_id" not in table.column_names:
        table = table.add_column("origin_id", [None] * len(table), feature=Value("string"))
    clips = table.select_columns([audio, *POOL_COLUMNS[1:]])
    return (clips if audio == "audio" else clips.rename_column(audio, "audio")).cast_column("audio", UNDECODED)


__all__ = ["hub_clips"]
