"""Embeddings on disk, each under a key of its own: written as they are computed, not computed again by any later run.

Keys are those of `data.identity`. What a vector depends on beside that, the teacher's weights and how it hears and
reads, is the name of the store's folder: a changed teacher finds nothing. Another corpus, label set, threshold or
strategy finds what is there.
"""

import copy
import csv
import hashlib
import io
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

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
from ..data.listening import Sound
from ..data.skipping import SkippedClips
from ..data.sound_store import SoundStore, can_be_heard
from ..data.sources import ExclusionLog
from ..data.tables import POOL_COLUMNS, UNDECODED
from ..errors import InputError, reading
from ..hub_clap_student import fingerprint
from ..utils.console import progress_bar
from ..utils.outputs import make_folder, write_json
from ..version import __version__


CLIPS, TEXTS = "clips", "texts"  # the kinds of files in a store
_KEY = np.dtype([("key", "S16"), ("readable", "u1")])
_TEXTS_AT_ONCE = 4096
_ROWS_AT_ONCE = 10_000  # of a stream, as Python objects
_STREAM_COLUMNS = Features(
    {"audio": UNDECODED} | {name: Value("string") for name in POOL_COLUMNS[1:]} | {"share": Value("int32")}
)


class EmbeddingStore:
    """The embeddings of one teacher on this kind of device.

    Every process writes files of its own: `KIND-….vectors`, float32 vectors one behind the other, and
    `KIND-….keys`, what each is of and whether the clip could be read; a vector counts once its key is there. A process
    that is killed loses what it had not written: the batch at hand. Nothing is ever rewritten.

    Args:
        root: folder of the stores of all teachers.
        model, processor: the teacher's, on the device where it will embed.
        batch_size, dtype: as it will embed: the last bits depend on them.
    """

    def __init__(self, root: Path | str, model, processor, batch_size: int, dtype: str = "float32"):
        identity = _identity(model, processor, batch_size) | {"dtype": dtype}
        name = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.folder = Path(root) / name
        self.dim = model.config.projection_dim
        about = self.folder / "store.json"
        if PartialState().is_main_process and not about.exists():
            make_folder(self.folder)
            write_json(about, identity)
        PartialState().wait_for_everyone()
        with reading(about, "description of a store; remove its folder"):
            description = json.loads(about.read_text(encoding="utf-8"))
        if description != identity:
            raise InputError(f"{self.folder} holds the embeddings of another teacher: remove it")
        self._files: dict[str, tuple[io.FileIO, io.FileIO]] = {}  # this process's own
        self._indices: dict[str, _Index] = {}

    def add(self, kind: str, key: bytes, vector: np.ndarray | None, reason: str = "") -> None:
        """Writes an embedding, or that there is none because the clip can't be read."""
        readable = vector is not None
        vector = np.zeros(self.dim, np.float32) if vector is None else np.asarray(vector, np.float32)
        if vector.shape != (self.dim,):
            raise InputError(f"an embedding of {vector.shape} does not fit the store {self.folder}: ({self.dim},)")
        try:
            if kind not in self._files:
                path = self.folder / f"{kind}-{uuid.uuid4().hex[:12]}"
                self._files[kind] = io.FileIO(f"{path}.vectors", "x"), io.FileIO(f"{path}.keys", "x")
            vectors, keys = self._files[kind]
            if reason:
                with open(self.folder / f"{kind}-unreadable.csv", "a", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerow([key.hex(), " ".join(reason.split())])
            _write(vectors, vector.tobytes())
            _write(keys, np.array([(key, readable)], _KEY).tobytes())
        except OSError as error:
            raise InputError(f"can't write embeddings to {self.folder}: {error.strerror}") from error

    def settle(self) -> None:
        """Waits for what all processes have written, and makes it known to all."""
        for files in self._files.values():
            for file in files:
                file.close()
        self._files, self._indices = {}, {}
        PartialState().wait_for_everyone()

    def knows(self, kind: str, keys: np.ndarray) -> np.ndarray:
        """(keys,) bool: whether each one's embedding is there, or that there is none."""
        return self._index(kind).find(keys) >= 0

    def readable(self, kind: str, keys: np.ndarray) -> np.ndarray:
        """(keys,) bool: whether each one, all known, has an embedding."""
        index = self._index(kind)
        return index.readable[index.find(keys)]

    def vectors(self, kind: str, keys: np.ndarray) -> "StoredVectors":
        """The embeddings of keys that have one, in their order: nothing is read before it is asked for."""
        index = self._index(kind)
        return StoredVectors(index.files, index.starts, index.find(keys), self.dim, keys)

    def reasons(self, kind: str) -> dict[bytes, str]:
        """key -> why the clip can't be read."""
        file = self.folder / f"{kind}-unreadable.csv"
        if not file.exists():
            return {}
        with open(file, encoding="utf-8", newline="") as rows:
            return {bytes.fromhex(row[0]): row[1] for row in csv.reader(rows) if len(row) == 2}

    def _index(self, kind: str) -> "_Index":
        if kind not in self._indices:
            self._indices[kind] = _Index(self.folder, kind, self.dim)
        return self._indices[kind]


def _write(file: io.FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _identity(model, processor, batch_size: int) -> dict:
    """All that an embedding depends on beside the clip or text."""
    tokenizer = processor.tokenizer
    if hasattr(tokenizer, "backend_tokenizer"):
        settings = json.loads(tokenizer.backend_tokenizer.to_str())
        for setting_of_the_last_call in ("padding", "truncation"):
            settings.pop(setting_of_the_last_call, None)
    else:
        settings = sorted(tokenizer.get_vocab().items())
    return {
        "teacher": fingerprint(model),
        "device": model.device.type,
        "batch_size": batch_size,
        "feature_extractor": json.loads(processor.feature_extractor.to_json_string()),
        "tokenizer": key_of(json.dumps(settings)).hex(),
        "version": __version__,
    }


class _Index:
    """What the files of one kind hold: keys in order, and where each one's vector lies."""

    def __init__(self, folder: Path, kind: str, dim: int):
        self.files, self.starts, parts = [], [0], [np.empty(0, _KEY)]
        for file in sorted(folder.glob(f"{kind}-*.keys")):
            vectors = file.with_suffix(".vectors")
            if not vectors.is_file():
                continue  # lost: what it held is embedded again
            count = min(file.stat().st_size // _KEY.itemsize, vectors.stat().st_size // (4 * dim))
            if count:
                parts.append(np.fromfile(file, _KEY, count))
                self.files.append(vectors)
                self.starts.append(self.starts[-1] + count)
        entries = np.concatenate(parts)
        self.readable = entries["readable"].astype(bool)
        self._order = np.argsort(entries["key"], kind="stable")
        self._sorted = entries["key"][self._order]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """(keys,) int64 positions, -1 for one that is not there."""
        if len(self._sorted) == 0:
            return np.full(len(keys), -1)
        places = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[places] == keys, self._order[places], -1)


class StoredVectors:
    """(rows, dim) float32 on disk; a slice, or an array of rows, is an array in memory. `keys` tell whose they are."""

    dtype = np.dtype(np.float32)

    def __init__(self, files: list[Path], starts: list[int], positions: np.ndarray, dim: int, keys: np.ndarray):
        # Half a vector at the end, of a process that was killed, is left out.
        self._maps = [
            np.memmap(file, np.float32, "r", shape=(file.stat().st_size // (4 * dim), dim)) for file in files
        ]
        self._starts = np.array(starts)
        self._positions, self.keys = positions, keys
        self.shape = (len(positions), dim)

    def take(self, rows: np.ndarray) -> "StoredVectors":
        """Some rows, still on disk."""
        taken = copy.copy(self)
        taken._positions, taken.keys = self._positions[rows], self.keys[rows]
        taken.shape = (len(taken._positions), self.shape[1])
        return taken

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows) -> np.ndarray:
        if isinstance(rows, (int, np.integer)):
            return self[[rows]][0]
        positions = self._positions[rows]
        parts = np.searchsorted(self._starts, positions, side="right") - 1
        vectors = np.empty((len(positions), self.shape[1]), np.float32)
        for part in np.unique(parts):
            in_part = parts == part
            vectors[in_part] = self._maps[part][positions[in_part] - self._starts[part]]
        return vectors

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


class StoredEmbedder:
    """A teacher with its store; every process embeds its share of what is missing. All processes must call alike.

    The store is that of this model and batch size. `skipped` gets the clips that can't be read, those of earlier runs
    too. With `sounds` clips are listened to as they are read, and what is heard is kept there.
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
        """(texts, dim) of texts in their order."""
        keys = np.array([key_of("text", text) for text in texts], "S16")
        missing = self._missing(TEXTS, keys)
        with self._bar(len(missing), description, "text") as bar:
            for start in range(0, len(missing), _TEXTS_AT_ONCE):
                batch = [texts[row] for row in missing[start : start + _TEXTS_AT_ONCE]]
                for text, vector in zip(batch, embed_texts(self.model, self.processor, batch), strict=True):
                    self.store.add(TEXTS, key_of("text", text), vector)
                bar.update(len(batch))
        self.store.settle()
        return self.store.vectors(TEXTS, keys)

    def table(self, clips: Dataset, description: str) -> tuple[StoredVectors, np.ndarray]:
        """(clips, dim) of a table's readable clips, and (clips,) int64 their rows, ascending."""
        keys = clip_keys(clips.select_columns(["audio", "audio_id"]))
        was_known = self.store.knows(CLIPS, keys)
        missing, listens = self._missing(CLIPS, keys), np.zeros(len(keys), bool)
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
        """Reads a stream, each process its share; clips whose bytes are known are not decoded.

        Where the stream's shards do not divide evenly among the processes, each reads all of it, and decodes its own
        clips. `exclusions` gets the number of clips that were left out, and why.

        Returns:
            (clips, dim) vectors, and a table of the clips they belong to, each once: `POOL_COLUMNS`, where `audio` is
            null, and `share`, the process that read it.
        """
        state = PartialState()
        rows = split_dataset_by_node(stream, rank=state.process_index, world_size=state.num_processes)
        share = _StreamShare(state.process_index)
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
        clips = Dataset(table.take(first).combine_chunks(), info=DatasetInfo(features=_STREAM_COLUMNS))
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
        """The rows that must be embedded; all that may be used are noted in `share`."""
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
        """Lists and counts what earlier runs found out, which nobody reads again."""
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
    """What a process has read of a stream, as columns: few of its clips are Python objects at any time."""

    process: int
    count: int = 0  # rows of the stream, readable or not
    excluded: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # reason -> ids
    keys: list[bytes] = field(default_factory=list)
    was_known: list[bool] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)

    def add(self, row: dict, key: bytes, was_known: bool) -> None:
        self.keys.append(key)
        self.was_known.append(was_known)
        self.rows.append({name: row[name] for name in POOL_COLUMNS[1:]} | {"share": self.process})
        if len(self.rows) == _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        self.tables.append(pa.Table.from_pylist(self.rows, _STREAM_COLUMNS.arrow_schema))
        self.rows = []
