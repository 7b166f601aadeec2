"""Which published recording a clip was cut from, and the clips that are kept out for that."""

from collections.abc import Iterable

from datasets import DatasetDict

from ..errors import InputError
from .metadata import read_rows
from .naming import parse_source
from .published import PUBLISHED
from .sources import Source
from .tables import load_table


# Columns that tell it: of this package's tables, AudioCaps' csv, and the Hub's copies of AudioSet and FSD50K.
_COLUMNS = {
    "youtube": ("youtube_id", "ytid", "YTID", "video_id"),
    "freesound": ("freesound_id", "fsID", "src_file"),
}
ORIGIN_COLUMNS = ("origin_id", *(column for columns in _COLUMNS.values() for column in columns))


def origin_of(row: dict) -> str | None:
    """`youtube:…` or `freesound:…`, of the first column that tells; None where none does."""
    if row.get("origin_id"):
        return row["origin_id"]
    return next((f"{site}:{row[c]}" for site, columns in _COLUMNS.items() for c in columns if row.get(c)), None)


def _of_metadata(source: Source) -> Iterable[str | None]:
    return map(origin_of, read_rows(source.path))


def _of_dataset(source: Source) -> Iterable[str | None]:
    tables = load_table(source.path)
    tables = tables.values() if isinstance(tables, DatasetDict) else [tables]
    for table in tables:
        yield from map(origin_of, table.select_columns([c for c in ORIGIN_COLUMNS if c in table.column_names]))


def _of_corpus(source: Source) -> Iterable[str | None]:
    corpus = PUBLISHED[source.layout]
    return (corpus.captioned or corpus.labelled or corpus.pool)(source)["origin_id"]


_READERS = {"csv": _of_metadata, "hub": _of_dataset, **dict.fromkeys(PUBLISHED, _of_corpus)}


def read_origins(specs: Iterable[str]) -> frozenset[str]:
    """The recordings that some data is made of, whether its audio is at hand or not.

    Args:
        specs: published corpora, csv files with one of `ORIGIN_COLUMNS`, Hub datasets with one.

    Raises:
        InputError: a spec that can't be read, or does not tell.
    """
    found = set()
    for spec in specs:
        source = parse_source(spec, _READERS, "data whose recordings are known")
        origins = set(_READERS[source.layout](source)) - {None}
        if not origins:
            raise InputError(f"{spec} does not tell its recordings: it needs a column {', '.join(ORIGIN_COLUMNS)}")
        found |= origins
    return frozenset(found)


__all__ = ["ORIGIN_COLUMNS", "origin_of", "read_origins"]
