"""The recordings that some data is made of, for clips that are kept out for that."""

from collections.abc import Iterable

from datasets import DatasetDict

from ..errors import InputError
from .metadata import read_rows
from .naming import parse_source
from .published import PUBLISHED
from .recordings import ORIGIN_COLUMNS, origin_of, origins_of
from .sources import Source
from .tables import load_table


def _of_metadata(source: Source) -> Iterable[str | None]:
    return map(origin_of, read_rows(source.path))


def _of_dataset(source: Source) -> Iterable[str | None]:
    tables = load_table(source.path)
    tables = tables.values() if isinstance(tables, DatasetDict) else [tables]
    for table in tables:
        yield from origins_of(table)


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
