"""Embeds clips and texts that the store lacks; each process takes a share. Clips are also listened to then."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, DatasetInfo, Features, IterableDataset, Value
from datasets.distributed import split_dataset_by_node
from tqdm.auto import tqdm

from ..checkpoints.embedding import embed_texts, iter_clips, nothing_readable
from ..data.identity import clip_keys, key_of
from ..data.keyed_files import share_of
from ..data.leakage import LEAKAGE_REASONS, LeakageFilter
from ..data.listening import Sound
from ..data.skipping import SkippedClips
from ..data.sound_store import SoundStore, can_be_heard
from ..data.sources import ExclusionLog
from ..data.tables import POOL_COLUMNS, UNDECODED
from ..data.windows import WINDOW_COLUMNS
from ..utils.console import progress_bar
from .embedding_store import CLIPS, TEXTS, EmbeddingStore, StoredVectors


_TEXTS_AT_ONCE = 4096
_ROWS_AT_ONCE = 10_000  # rows of a stream that are Python objects at a time
_STREAM_COLUMNS = {"audio": UNDECODED, **dict.fromkeys(POOL_COLUMNS[1:], Value("string")), "share": Value("int32")}


class StoredEmbedder:
    """A teacher with its store. Every process embeds its share of what is missing, so all must call it together.

    The store belongs to this model and batch size. `skipped` gets the clips that can't be read, including those of
    earlier runs. With `sounds`, clips are listened to while they are read, and their sounds are kept there.
    """

    def __init__(
        self,
        model,
        processor,
        store: EmbeddingStore,
        skipped: SkippedClips,
        batch_size: int = 32,
        sounds: SoundStore | None = None,
    ):
        self.model, self.processor, self.store = model.eval(), processor, store
        self.skipped, self.batch_size, self.sounds = skipped, batch_size, sounds

    def texts(self, texts: list[str], description: str) -> StoredVectors:
        """(texts, dim) vectors, in the order of the texts."""
        keys = np.array([key_of("text", text) for text in texts], "S16")
        missing = share_of(keys, ~self.store.knows(TEXTS, keys))
        with self._bar(len(missing), description, "text") as bar:
            for start in range(0, len(missing), _TEXTS_AT_ONCE):
                batch = [texts[row] for row in missing[start : start + _TEXTS_AT_ONCE]]
                for text, vector in zip(batch, embed_texts(self.model, self.processor, batch), strict=True):
                    self.store.add(TEXTS, key_of("text", text), vector)
                bar.update(len(batch))
        self.store.settle()
        return self.store.vectors(TEXTS, keys)

    def table(self, clips: Dataset, description: str) -> tuple[StoredVectors, np.ndarray]:
        """(clips, dim) vectors of a table's readable clips, and (clips,) int64, their rows, ascending."""
        keys = clip_keys(clips.select_columns(["audio", "audio_id"]))
        was_known = self.store.knows(CLIPS, keys)
        missing, listens = share_of(keys, ~was_known), np.zeros(len(keys), bool)
        if self.sounds is not None:
            listens = can_be_heard(clips) & ~self.sounds.knows(keys)
        with self._bar(len(missing), description, "clip") as bar:
            rows = ({**clips[int(row)], "key": keys[row], "listens": listens[row]} for row in missing)
            self._embed(rows, bar)
        self.store.settle()
        if self.sounds is not None:
            self.sounds.settle()
            if (listens & ~self.sounds.knows(keys)).any():  # clips that an earlier run embedded
                self.sounds.hear(clips, "fingerprints of the pool")
        readable = self.store.readable(CLIPS, keys)
        self._report(clips["audio_id"], keys, was_known, readable)
        if not readable.any():
            raise nothing_readable(len(clips), self.skipped)
        return self.store.vectors(CLIPS, keys[readable]), np.flatnonzero(readable)

    def stream(
        self, stream: IterableDataset, leakage: LeakageFilter, exclusions: ExclusionLog, description: str
    ) -> tuple[StoredVectors, Dataset]:
        """Reads a stream; each process takes a share. Clips whose bytes are known are not decoded.

        If the stream's shards do not divide evenly among the processes, each process reads everything and decodes its
        own clips. `exclusions` gets the number of clips that were left out, and why.

        Returns:
            (clips, dim) vectors, and a table of their clips, each once: `POOL_COLUMNS`, where `audio` is null;
                `share`, the process that read it; and for windows `start` and `end`.
        """
        state = PartialState()
        rows = split_dataset_by_node(stream, rank=state.process_index, world_size=state.num_processes)
        windows = WINDOW_COLUMNS if WINDOW_COLUMNS.keys() <= set(stream.features or {}) else {}
        share = _StreamShare(state.process_index, Features(_STREAM_COLUMNS | windows))
        with self._bar(None, description, "clip") as bar:
            self._embed(self._unknown(rows, leakage, share, bar), None)
        self.store.settle()
        if self.sounds is not None:
            self.sounds.settle()
        share.flush()
        shares = gather_object([share])
        table = pa.concat_tables([table for share in shares for table in share.tables])
        keys = np.concatenate([np.array(share.keys, "S16") for share in shares])
        was_known = np.concatenate([np.array(share.was_known, bool) for share in shares])
        total = sum(share.count for share in shares)
        readable = self.store.readable(CLIPS, keys)
        self._report(table["audio_id"].to_pylist(), keys, was_known, readable)
        for reason in LEAKAGE_REASONS:
            clips = [clip for share in shares for clip in share.excluded[reason]]
            exclusions.add("the stream", reason, len(clips), total, clips[0] if clips else "")
        if not readable.any():
            raise nothing_readable(total, self.skipped)
        return self._each_once(table.filter(pa.array(readable)), keys[readable], total, exclusions)

    def _each_once(self, table: pa.Table, keys: np.ndarray, total: int, exclusions: ExclusionLog):
        ids = table["audio_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        first = np.sort(np.unique(ids, return_index=True)[1])
        repeated = np.setdiff1d(np.arange(len(ids)), first)
        again = table["audio_id"][int(repeated[0])].as_py() if len(repeated) else ""
        exclusions.add("the stream", "the same clip again", len(repeated), total, again)
        features = Features.from_arrow_schema(table.schema)
        clips = Dataset(table.take(first).combine_chunks(), info=DatasetInfo(features=features))
        return self.store.vectors(CLIPS, keys[first]), clips

    def _embed(self, rows: Iterable[dict], bar: tqdm | None) -> None:
        heard: dict[bytes, Sound] = {}
        clips = iter_clips(
            *(self.model, self.processor, rows, self.skipped, self.batch_size),
            on_heard=lambda row, sound: heard.update({row["key"]: sound}),
        )
        for row, vector, reason in clips:
            self.store.add(CLIPS, row["key"], vector, reason)
            if row["listens"]:
                sound = heard.pop(row["key"], None)
                self.sounds.add(row["key"], None if vector is None else sound)
            if bar is not None:
                bar.update()

    def _unknown(
        self, rows: Iterable[dict], leakage: LeakageFilter, share: "_StreamShare", bar: tqdm
    ) -> Iterator[dict]:
        """The rows that must be embedded. All usable rows are noted in `share`."""
        rows, new = iter(rows), set()
        while batch := list(islice(rows, self.batch_size)):
            share.count += len(batch)
            usable = []
            for row in batch:
                reason = leakage.reason(row)
                if reason is None:
                    usable.append(row)
                else:
                    share.excluded[reason].append(row["audio_id"])
            keys = clip_keys(usable)
            listens = np.zeros(len(keys), bool) if self.sounds is None else ~self.sounds.knows(keys)
            is_known = self.store.knows(CLIPS, keys) & ~listens
            for row, key, known, listen in zip(usable, keys, is_known, listens, strict=True):
                share.add(row, key, known)
                if not known and key not in new:
                    new.add(key)
                    yield {**row, "key": key, "listens": listen}
            bar.update(len(batch))

    def _report(self, ids: Iterable[str], keys: np.ndarray, was_known: np.ndarray, readable: np.ndarray) -> None:
        """Lists and counts what earlier runs found out about clips that are not read again."""
        if PartialState().is_main_process:
            reasons = self.store.reasons(CLIPS) if not readable[was_known].all() else {}
            for row, audio_id in enumerate(ids):
                if was_known[row] and readable[row]:
                    self.skipped.count_tried(audio_id)
                elif was_known[row]:
                    self.skipped.add(audio_id, reasons.get(bytes(keys[row]), "not readable in an earlier run"))
        PartialState().wait_for_everyone()
        self.skipped.check()

    @staticmethod
    def _bar(total: int | None, description: str, unit: str) -> tqdm:
        hidden = not PartialState().is_main_process or total == 0
        return progress_bar(total=total, desc=description, unit=unit, disable=hidden)


@dataclass
class _StreamShare:
    """What a process has read of a stream, as columns. Few of its clips are Python objects at any time."""

    process: int
    features: Features  # of the columns that are kept
    count: int = 0  # rows of the stream, readable or not
    excluded: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # reason -> ids
    keys: list[bytes] = field(default_factory=list)
    was_known: list[bool] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)

    def add(self, row: dict, key: bytes, was_known: bool) -> None:
        self.keys.append(key)
        self.was_known.append(was_known)
        self.rows.append({name: row.get(name) for name in self.features if name != "audio"} | {"share": self.process})
        if len(self.rows) == _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        self.tables.append(pa.Table.from_pylist(self.rows, self.features.arrow_schema))
        self.rows = []
