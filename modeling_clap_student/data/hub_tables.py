"""Clips of a Hub dataset, or of a folder of one: whatever its columns are called, in those of this package."""

import pyarrow as pa
from datasets import Dataset, Value

from ..errors import InputError
from .columns import find_column
from .recordings import origins_of
from .sources import Source
from .tables import POOL_COLUMNS, UNDECODED, first_line


def hub_clips(source: Source, table: Dataset) -> Dataset:
    """The clips of a Hub dataset's rows, with the columns of `POOL_COLUMNS`; `audio` is not decoded.

    A row without an `audio_id` is called after the dataset and its number.

    Raises:
        InputError: no column holds the audio, or it holds something else.
    """
    audio = find_column(source, source.spec, table.column_names, "audio", "audio")
    ids = _texts(source, table, "audio_id", [f"{source.name}/{number}" for number in range(len(table))])
    sources = _texts(source, table, "source", [source.name] * len(table))
    clips = table.select_columns([audio])
    clips = clips if audio == "audio" else clips.rename_column(audio, "audio")
    try:
        clips = clips.cast_column("audio", UNDECODED)
    except Exception as error:  # arrow's own and datasets', by what the column holds
        raise InputError(f"{source.spec}: the column {audio} holds no audio: {first_line(error)}") from error
    for name, values in zip(POOL_COLUMNS[1:], (ids, sources, origins_of(table)), strict=True):
        clips = clips.add_column(name, values, feature=Value("string"))
    return clips


def _texts(source: Source, table: Dataset, column: str, otherwise: list[str]) -> list[str]:
    """A column of texts, with others where it has none."""
    if column not in table.column_names:
        return otherwise
    refuse_nested(source, table, column)
    values = table[column][:]
    return [text if value is None else str(value) for value, text in zip(values, otherwise, strict=True)]


def refuse_nested(source: Source, table: Dataset, column: str) -> None:
    """Raises an InputError where a column's cells are lists, mappings or bytes: nothing that can be a text."""
    kind = arrow_type(table, column)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise InputError(f"{source.spec}: the column {column} holds {kind}, not text")


def arrow_type(table: Dataset, column: str) -> pa.DataType:
    """What a column's cells are."""
    return table.features.arrow_schema.field(column).type


__all__ = ["arrow_type", "hub_clips", "refuse_nested"]
