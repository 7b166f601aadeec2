"""Keeps evaluation and validation clips out of everything that a run learns from or curates.

A clip is recognised in three ways. By the published recording it was cut from, where its corpus names that: FSD50K,
ESC-50 and UrbanSound8K all come from Freesound, AudioCaps from AudioSet. By the bytes of its file. And by its sound,
also if it was encoded again, resampled, made louder, or cut at its ends.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, concatenate_datasets

from ..errors import InputError
from ..utils.console import say
from ..windows_clap_student import PART, without_part
from .filters import column_of, select_rows
from .identity import ORIGIN_COLUMNS, origin_of, origins_of
from .naming import parse_source
from .near_duplicates import pairs_between
from .published import PUBLISHED
from .skipping import LeakageArguments
from .sound_store import Sounds, SoundStore, can_be_heard
from .sources import ExclusionLog, Source
from .stream_sounds import StreamSounds
from .tables import load_table
from .texts import exact_key, read_rows


def _dataset_origins(source: Source) -> Iterable[str | None]:
    tables = load_table(source.path)
    for table in tables.values() if isinstance(tables, DatasetDict) else [tables]:
        yield from origins_of(table)


def _corpus_origins(source: Source) -> Iterable[str | None]:
    corpus = PUBLISHED[source.layout]
    return (corpus.captioned or corpus.labelled or corpus.pool)(source)["origin_id"]


_READERS = {
    "csv": lambda source: map(origin_of, read_rows(source.path)),
    "hub": _dataset_origins,
    **dict.fromkeys(PUBLISHED, _corpus_origins),
}


def read_origins(specs: Iterable[str]) -> frozenset[str]:
    """The recordings in some data, whether its audio exists or not.

    A spec is a published corpus, or a csv file or Hub dataset with one of `ORIGIN_COLUMNS`. Any other is an
    InputError.
    """
    recordings = set()
    for spec in specs:
        source = parse_source(spec, _READERS, "data whose recordings are known")
        origins = set(_READERS[source.layout](source)) - {None}
        if not origins:
            raise InputError(f"{spec} does not tell its recordings: it needs a column {', '.join(ORIGIN_COLUMNS)}")
        recordings |= origins
    return frozenset(recordings)


class EvaluationSounds:
    """The sounds of evaluation clips, to find copies of them.

    Args:
        clips: tables of the clips.
        store: keeps the fingerprints.
    """

    def __init__(self, clips: Iterable[Dataset], store: SoundStore):
        self.store = store
        tables = [table.select_columns(["audio", "audio_id"]) for table in clips]
        tables = [table.select(np.flatnonzero(can_be_heard(table))) for table in tables if len(table)]
        self._clips = concatenate_datasets(tables) if tables else None

    def __bool__(self) -> bool:
        return self._clips is not None and len(self._clips) > 0

    def prepare(self) -> None:
        """Fingerprints the evaluation clips now; `matches` would do it later. All processes must call it together."""
        _ = self and self._sounds

    @cached_property
    def _sounds(self) -> Sounds:
        sounds = self.store.hear(self._clips, "fingerprints of evaluation clips")
        if unread := int((~sounds.heard).sum()):
            say(f"{unread} of {len(sounds)} evaluation clips can't be read: copies of their sounds are not found")
        return sounds

    def matches(self, sounds: Sounds) -> dict[int, str]:
        """Maps a row of some sounds to the evaluation clip that it is a copy of."""
        best = {}
        for pair in sorted(pairs_between(sounds, self._sounds), key=lambda pair: pair.score):
            best[pair.row] = self._clips[pair.other]["audio_id"]
        return best

    def of_streams(self) -> StreamSounds:
        """The same for clips that come one by one, without the store. All processes must call it together."""
        return StreamSounds([self._sounds.fingerprint(row) for row in np.flatnonzero(self._sounds.heard).tolist()])

    def drop_from(self, table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
        """The rows whose clip sounds like no evaluation clip. Each clip of the table is decoded once, ever."""
        if not self or len(table) == 0 or not can_be_heard(table).any():
            return table
        _, firsts, clips = np.unique(table["audio_id"][:], return_index=True, return_inverse=True)
        distinct = table.select_columns(["audio", "audio_id"]).select(firsts)
        copies = self.matches(self.store.hear(distinct, f"fingerprints of {spec}"))
        return select_rows(table, ~np.isin(clips, list(copies)), spec, SAME_SOUND, exclusions)


def evaluation_sounds(args: LeakageArguments, clips: Iterable[Dataset]) -> EvaluationSounds | None:
    """The sounds of some tables, for comparison with a run's clips; None where sounds are not compared."""
    if args.allow_near_duplicates or args.dry_run:
        return None
    return EvaluationSounds(clips, SoundStore(args.fingerprint_store))


SAME_CONTENT = "the same clip is in the evaluation set"
SAME_RECORDING = "its recording is in the evaluation set"
NAMED = "its recording is to be left out"
SAME_SOUND = "it sounds like a clip of the evaluation set"
LEAKAGE_REASONS = (SAME_RECORDING, NAMED, SAME_CONTENT)


class LeakageFilter:
    """Clips that a run must not use: those of some tables, by content, recording and sound, and further recordings.

    Without `sounds`, no sounds are compared. Those of a stream are compared after `listen_to_streams`.
    """

    def __init__(
        self,
        clips: Iterable[Dataset] = (),
        origins: frozenset[str] = frozenset(),
        sounds: EvaluationSounds | None = None,
    ):
        self._sounds, self._stream_sounds = sounds, None
        self._clips_of_size: dict[int, list[dict]] = defaultdict(list)
        self._digests: dict[int, set[bytes]] = {}
        evaluation_origins = set()
        for table in clips:
            if "origin_id" in table.column_names:
                evaluation_origins |= set(table["origin_id"]) - {None}
            for clip, size in zip(column_of(table, "audio").to_pylist(), _sizes(table).to_pylist(), strict=True):
                if size is not None:
                    self._clips_of_size[size].append(clip)
        self._origins = {SAME_RECORDING: frozenset(evaluation_origins), NAMED: frozenset(origins)}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_sounds": None}  # a loader's workers search no table, so they don't need them

    def __bool__(self) -> bool:
        return bool(self._clips_of_size or any(self._origins.values()))

    def listen_to_streams(self) -> None:
        """Makes `reason` compare sounds too, for a stream that is trained on. All processes must call it together."""
        if self._sounds:
            self._stream_sounds = self._sounds.of_streams()

    def reason(self, row: dict) -> str | None:
        """Why a clip of a stream, with `audio` and perhaps `origin_id`, must not be used; None if it may be used."""
        for reason, origins in self._origins.items():
            if row.get("origin_id") in origins:
                return reason
        content = (row.get("audio") or {}).get("bytes")
        if content is not None and self._holds(len(content), row["audio"]):
            return SAME_CONTENT
        return SAME_SOUND if self._stream_sounds is not None and self._stream_sounds.holds(row) else None

    def drop_from(self, table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
        """The rows, with `audio` and perhaps `origin_id`, that may be used.

        A file is read only if its size equals that of an evaluation clip. With sounds, the remaining clips are decoded
        and compared.
        """
        table = self._without_same_content(self._without_origins(table, spec, exclusions), spec, exclusions)
        return self._sounds.drop_from(table, spec, exclusions) if self._sounds else table

    def _without_origins(self, table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
        for reason, origins in self._origins.items():
            if origins and "origin_id" in table.column_names:
                leaks = pc.is_in(column_of(table, "origin_id"), value_set=pa.array(sorted(origins), pa.string()))
                table = select_rows(table, pc.invert(leaks), spec, reason, exclusions)
        return table

    def _without_same_content(self, table: Dataset, spec: str, exclusions: ExclusionLog) -> Dataset:
        if not self._clips_of_size or len(table) == 0:
            return table
        sizes = _sizes(table).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(np.isin(sizes, list(self._clips_of_size)))
        clips = table.select_columns(["audio"])
        with ThreadPoolExecutor() as threads:
            leaks = list(threads.map(lambda row: self._holds(int(sizes[row]), clips[int(row)]["audio"]), rows))
        usable = np.ones(len(table), dtype=bool)
        usable[rows] = ~np.array(leaks, dtype=bool)
        return select_rows(table, usable, spec, SAME_CONTENT, exclusions)

    def _holds(self, size: int, audio: dict) -> bool:
        if size not in self._clips_of_size:
            return False
        if size not in self._digests:
            self._digests[size] = {_digest(clip) for clip in self._clips_of_size[size]} - {None}
        return _digest(audio) in self._digests[size]


def _sizes(table: Dataset) -> pa.Array:
    """Bytes of each clip; null where it has none. Each file is looked up once, however many rows it has."""
    audio = column_of(table, "audio")
    paths = pc.replace_substring_regex(pc.struct_field(audio, "path"), PART, "").dictionary_encode()
    file_sizes = pa.array([_size(path) for path in paths.dictionary.to_pylist()], pa.int64())
    lengths = pc.binary_length(pc.struct_field(audio, "bytes").cast(pa.binary()))
    return pc.coalesce(lengths.cast(pa.int64()), file_sizes.take(paths.indices))


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # no file, or a built-in clip
        return None


def _digest(audio: dict) -> bytes | None:
    """A digest of the whole file, also where only a part of it is meant."""
    try:
        content = audio["bytes"] if audio["bytes"] is not None else Path(without_part(audio["path"])).read_bytes()
    except OSError:  # deleted meanwhile
        return None
    return hashlib.blake2b(content).digest()


def split_validation(corpus: Dataset, fraction: float) -> tuple[Dataset, Dataset]:
    """The rows of a captioned table to train on and those to validate on, in their order. No recording is in both.

    A recording is the `origin_id` where it is known, else the clip. Recordings that share a clip count as one. Only a
    hash of its name and the fraction decide whether it is held out: no seed, and nothing else in the table. So a
    teacher and its student hold out the same clips, and a smaller share lies within a larger one. The fraction of
    recordings, in (0, 1), is met by chance: only roughly in a small table. An empty part is an InputError.
    """
    numbers = _recording_numbers(corpus)
    # The lower half of the bits decides. The upper half chooses which name of a recording gives it its number.
    held_out = numbers % 2**32 < fraction * 2**32
    if held_out.all() or not held_out.any():
        purpose, change = ("train", "smaller") if held_out.all() else ("validate", "larger")
        count = len(np.unique(numbers))
        raise InputError(
            f"a validation share of {fraction:g} leaves none of {count} recording{'s' * (count != 1)} to {purpose} "
            f"on: choose a {change} share"
        )
    return corpus.select(np.flatnonzero(~held_out)), corpus.select(np.flatnonzero(held_out))


def _recording_numbers(corpus: Dataset) -> np.ndarray:
    """(rows,) uint64 that look random. Rows have equal numbers only if they are of one recording."""
    clips = column_of(corpus, "audio_id")
    names = pc.replace_substring_regex(clips, PART, "")  # windows of one recording belong together
    names = pc.coalesce(column_of(corpus, "origin_id"), names) if "origin_id" in corpus.column_names else names
    names = names.dictionary_encode()
    hashes = np.array([int(exact_key(name), 16) for name in names.dictionary.to_pylist()], dtype=np.uint64)
    clips, names = clips.dictionary_encode().indices.to_numpy(), names.indices.to_numpy()
    numbers, before = hashes[names], None
    # Repeated, because recordings may share clips in chains.
    while not np.array_equal(numbers, before):
        before, numbers = numbers, _lowest(_lowest(numbers, clips), names)
    return numbers


def _lowest(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The lowest value in each row's group."""
    lowest = np.full(groups.max(initial=-1) + 1, np.iinfo(np.uint64).max)
    np.minimum.at(lowest, groups, values)
    return lowest[groups]
