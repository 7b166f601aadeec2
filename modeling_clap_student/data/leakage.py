"""Evaluation clips are kept out of what a run learns or curates from.

A clip is known by the published recording it was cut from, where its corpus tells (FSD50K, ESC-50 and UrbanSound8K
all come from Freesound, AudioCaps from AudioSet), and by its content: the bytes of its file. The same sound encoded
anew is only found by its recording.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict

from ..errors import InputError
from .filters import column_of, kept_rows
from .metadata import read_rows
from .naming import parse_source
from .published import PUBLISHED
from .recordings import ORIGIN_COLUMNS, origin_of, origins_of
from .sources import ExclusionLog, Source
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


SAME_CONTENT = "the same clip is in the evaluation set"
SAME_RECORDING = "its recording is in the evaluation set"
NAMED = "its recording is to be left out"
LEAKAGE_REASONS = (SAME_RECORDING, NAMED, SAME_CONTENT)


class LeakageFilter:
    """Clips that a run must not use.

    Args:
        clips: of evaluation sets: tables with `audio` and perhaps `origin_id`.
        origins: further recordings, that a user named; see `read_origins`.
    """

    def __init__(self, clips: Iterable[Dataset] = (), origins: frozenset[str] = frozenset()):
        self._sizes: dict[int, list[dict]] = defaultdict(list)
        self._digests: dict[int, set[bytes]] = {}
        evaluated = set()
        for table in clips:
            evaluated |= (set(table["origin_id"]) if "origin_id" in table.column_names else set()) - {None}
            audio = column_of(table, "audio").to_pylist()
            for clip, size in zip(audio, _sizes(table).to_pylist(), strict=True):
                if size is not None:
                    self._sizes[size].append(clip)
        self._origins = {SAME_RECORDING: frozenset(evaluated), NAMED: frozenset(origins)}

    def __bool__(self) -> bool:
        return bool(self._sizes or any(self._origins.values()))

    def reason(self, row: dict) -> str | None:
        """Why a clip of a stream, `audio` and perhaps `origin_id`, must not be used; None where it may."""
        for reason, origins in self._origins.items():
            if row.get("origin_id") in origins:
                return reason
        held = (row.get("audio") or {}).get("bytes")
        return SAME_CONTENT if held is not None and self._holds(len(held), row["audio"]) else None

    def drop_from(self, table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
        """The rows that may be used.

        Only files of the size of an evaluation clip are read; for the others their size is enough.

        Args:
            table: with `audio` and perhaps `origin_id`.
            spec: what a user calls it.
            exclusions: gets the number of rows that were left out, and why.
        """
        for reason, origins in self._origins.items():
            if origins and "origin_id" in table.column_names:
                named = pc.is_in(column_of(table, "origin_id"), value_set=pa.array(sorted(origins), pa.string()))
                table = kept_rows(table, pc.invert(named), spec, reason, exclusions)
        if not self._sizes or len(table) == 0:
            return table
        sizes = _sizes(table).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(np.isin(sizes, list(self._sizes)))
        clips = table.select_columns(["audio"])
        with ThreadPoolExecutor() as threads:
            same = list(threads.map(lambda row: self._holds(int(sizes[row]), clips[int(row)]["audio"]), rows))
        keep = np.ones(len(table), dtype=bool)
        keep[rows] = ~np.array(same, dtype=bool)
        return kept_rows(table, keep, spec, SAME_CONTENT, exclusions)

    def _holds(self, size: int, audio: dict) -> bool:
        if size not in self._sizes:
            return False
        if size not in self._digests:
            self._digests[size] = {_digest(clip) for clip in self._sizes[size]} - {None}
        return _digest(audio) in self._digests[size]


def _sizes(table: Dataset) -> pa.Array:
    """Bytes of each clip, null where it has none; each file is asked once, however many rows it has."""
    audio = column_of(table, "audio")
    paths = pc.struct_field(audio, "path").dictionary_encode()
    of_files = pa.array([_size(path) for path in paths.dictionary.to_pylist()], pa.int64())
    held = pc.binary_length(pc.struct_field(audio, "bytes").cast(pa.binary()))
    return pc.coalesce(held.cast(pa.int64()), of_files.take(paths.indices))


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # none, or one that the package makes itself
        return None


def _digest(audio: dict) -> bytes | None:
    try:
        held = audio["bytes"] if audio["bytes"] is not None else Path(audio["path"]).read_bytes()
    except OSError:  # gone since
        return None
    return hashlib.blake2b(held).digest()
