"""Captions, tables and streams of clips to embeddings in a store: what is there is not computed again."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
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
from ..data.leakage import LEAKAGE_REASONS, LeakageFilter
from ..data.skipping import SkippedClips
from ..data.sources import ExclusionLog
from ..data.tables import POOL_COLUMNS, UNDECODED
from ..utils.console import progress_bar
from .embedding_store import EmbeddingStore, StoredVectors


CLIPS, TEXTS = "clips", "texts"
_TEXTS_AT_ONCE = 4096
_ROWS_AT_ONCE = 10_000


class StoredEmbedder:
    """A teacher with its store; every process embeds its share of what is missing. All processes must call alike.

    Args:
        model: a `ClapStudentModel`, or another CLAP that `load_checkpoint` returned, on its device.
        processor: the model's own.
        store: of this model.
        skipped: where clips that can't be read are listed, now or in an earlier run.
        batch_size: the store's.
    """

    def __init__(self, model, processor, store: EmbeddingStore, skipped: SkippedClips, batch_size: int = 32):
        self.model, self.processor, self.store = model.eval(), processor, store
        self.skipped, self.batch_size = skipped, batch_size

    def texts(self, texts: list[str], description: str) -> StoredVectors:
        """(texts, dim) of texts in their order."""
        keys = np.array([key_of("text", text) for text in texts], "S16")
        missing = self._missing(TEXTS, keys)
        with self._bar(len(missing), description, "text") as bar:
            for start in range(0, len(missing), _TEXTS_AT_ONCE):
                some = [texts[row] for row in missing[start : start + _TEXTS_AT_ONCE]]
                for text, vector in zip(some, embed_texts(self.model, self.processor, some), strict=True):
                    self.store.add(TEXTS, key_of("text", text), vector)
                bar.update(len(some))
        self.store.settle()
        return self.store.vectors(TEXTS, keys)

    def table(self, clips: Dataset, description: str) -> tuple[StoredVectors, np.ndarray]:
        """(kept, dim) of a table's readable clips, and (kept,) int64 their rows, ascending.

        Raises:
            InputError: not one clip can be read, or more of them can't than `skipped` allows.
        """
        keys = clip_keys(clips.select_columns(["audio", "audio_id"]))
        known = self.store.knows(CLIPS, keys)
        missing = self._missing(CLIPS, keys)
        with self._bar(len(missing), description, "clip") as bar:
            self._embed(({**clips[int(row)], "key": keys[row]} for row in missing), bar)
        self.store.settle()
        readable = self.store.readable(CLIPS, keys)
        self._report(clips["audio_id"], keys, known, readable)
        if not readable.any():
            raise nothing_readable(len(clips), self.skipped)
        return self.store.vectors(CLIPS, keys[readable]), np.flatnonzero(readable)

    def stream(
        self, stream: IterableDataset, leakage: LeakageFilter, exclusions: ExclusionLog, description: str
    ) -> tuple[StoredVectors, Dataset]:
        """Reads a stream, each process its share; clips whose bytes are known are not decoded.

        Args:
            stream: rows of `POOL_COLUMNS`. Where its shards do not divide evenly among the processes, each reads all
                of it, and decodes its own clips.
            leakage: clips that are left out.
            exclusions: gets the number of clips that were left out, and why.
            description: for the progress bar.

        Returns:
            (kept, dim) vectors, and a table of the clips they belong to, each once: `POOL_COLUMNS`, where `audio` is
            null, and `share`, the process that read it.

        Raises:
            InputError: the stream is empty, or not one clip can be read.
        """
        state = PartialState()
        share = split_dataset_by_node(stream, rank=state.process_index, world_size=state.num_processes)
        seen = _Seen(state.process_index)
        with self._bar(None, description, "clip") as bar:
            self._embed(self._unknown(share, leakage, seen, bar), None)
        self.store.settle()
        shares = gather_object([(seen.table(), seen.keys, seen.known, dict(seen.left_out), seen.count)])
        table = pa.concat_tables([part[0] for part in shares])
        keys, known = (np.concatenate([np.array(part[n]) for part in shares]) for n in (1, 2))
        total = sum(part[4] for part in shares)
        readable = self.store.readable(CLIPS, keys.astype("S16")) if len(keys) else np.zeros(0, bool)
        self._report(table["audio_id"].to_pylist(), keys, known.astype(bool), readable)
        _note_left_out([part[3] for part in shares], total, exclusions)
        if not readable.any():
            raise nothing_readable(total, self.skipped)
        return self._each_once(table.filter(pa.array(readable)), keys[readable].astype("S16"), total, exclusions)

    def _each_once(self, table: pa.Table, keys: np.ndarray, total: int, exclusions: ExclusionLog):
        ids = table["audio_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        first = np.sort(np.unique(ids, return_index=True)[1])
        repeated = np.setdiff1d(np.arange(len(ids)), first)
        again = table["audio_id"][int(repeated[0])].as_py() if len(repeated) else ""
        exclusions.add("the stream", "the same clip again", len(repeated), total, again)
        columns = {**{name: Value("string") for name in POOL_COLUMNS}, "audio": UNDECODED, "share": Value("int32")}
        clips = Dataset(table.take(first).combine_chunks(), info=DatasetInfo(features=Features(columns)))
        return self.store.vectors(CLIPS, keys[first]), clips

    def _missing(self, kind: str, keys: np.ndarray) -> np.ndarray:
        """This process's share of the rows whose embedding is not there, each key once."""
        first = np.zeros(len(keys), bool)
        first[np.unique(keys, return_index=True)[1]] = True
        missing = np.flatnonzero(first & ~self.store.knows(kind, keys))
        state = PartialState()
        state.wait_for_everyone()  # who looks after another has begun to write would share out something else
        bounds = np.linspace(0, len(missing), state.num_processes + 1).astype(int)
        return missing[bounds[state.process_index] : bounds[state.process_index + 1]]

    def _embed(self, rows: Iterable[dict], bar: tqdm | None) -> None:
        for row, vector, reason in iter_clips(self.model, self.processor, rows, self.skipped, self.batch_size):
            self.store.add(CLIPS, row["key"], vector, reason)
            if bar is not None:
                bar.update()

    def _unknown(self, rows: Iterable[dict], leakage: LeakageFilter, seen: "_Seen", bar: tqdm) -> Iterator[dict]:
        """The rows that must be embedded; all that may be used are noted in `seen`."""
        rows, embedded = iter(rows), set()
        while some := list(islice(rows, self.batch_size)):
            reasons = [leakage.reason(row) for row in some]
            seen.leave_out(some, reasons)
            wanted = [row for row, reason in zip(some, reasons, strict=True) if reason is None]
            keys = clip_keys(wanted)
            known = self.store.knows(CLIPS, keys)
            for row, key, is_known in zip(wanted, keys, known, strict=True):
                seen.add(row, key, is_known)
                if not is_known and key not in embedded:
                    embedded.add(key)
                    yield {**row, "key": key}
            bar.update(len(some))

    def _report(self, ids: Iterable[str], keys: np.ndarray, known: np.ndarray, readable: np.ndarray) -> None:
        """Lists and counts what earlier runs found out, which nobody reads again."""
        if PartialState().is_main_process:
            reasons = self.store.reasons(CLIPS) if not readable[known].all() else {}
            for audio_id, key, was_known, is_readable in zip(ids, keys, known, readable, strict=True):
                if was_known and is_readable:
                    self.skipped.count_tried(audio_id)
                elif was_known:
                    self.skipped.add(audio_id, reasons.get(bytes(key), "not readable in an earlier run"))
        PartialState().wait_for_everyone()
        self.skipped.check()

    @staticmethod
    def _bar(total: int | None, description: str, unit: str) -> tqdm:
        hidden = not PartialState().is_main_process or total == 0
        return progress_bar(total=total, desc=description, unit=unit, disable=hidden)


class _Seen:
    """The clips of a stream that a process has read, as columns: few of them are Python objects at any time.

    Attributes:
        count: rows of the stream, readable or not.
        left_out: reason -> ids of the clips that must not be used.
        keys: of the others.
        known: whether each one's embedding was there.
    """

    def __init__(self, share: int):
        self.count, self.keys, self.known = 0, [], []
        self.left_out: dict[str, list[str]] = defaultdict(list)
        self._share, self._rows, self._tables = share, [], []

    def leave_out(self, rows: list[dict], reasons: list[str | None]) -> None:
        self.count += len(rows)
        for row, reason in zip(rows, reasons, strict=True):
            if reason is not None:
                self.left_out[reason].append(row["audio_id"])

    def add(self, row: dict, key: bytes, known: bool) -> None:
        self.keys.append(key)
        self.known.append(known)
        self._rows.append({name: row[name] for name in POOL_COLUMNS if name != "audio"})
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        audio = pa.nulls(len(self._rows), UNDECODED.pa_type)
        texts = [pa.array([row[name] for row in self._rows], pa.string()) for name in POOL_COLUMNS[1:]]
        share = pa.array([self._share] * len(self._rows), pa.int32())
        self._tables.append(pa.table([audio, *texts, share], names=[*POOL_COLUMNS, "share"]))
        self._rows = []

    def table(self) -> pa.Table:
        self._flush()
        return pa.concat_tables(self._tables)


def _note_left_out(parts: list[dict[str, list[str]]], total: int, exclusions: ExclusionLog) -> None:
    for reason in LEAKAGE_REASONS:
        clips = [clip for part in parts for clip in part.get(reason, ())]
        exclusions.add("the stream", reason, len(clips), total, clips[0] if clips else "")
