"""Embeddings on disk, each under its own key. They are written as they are computed; no later run computes them again.

Keys come from `data.identity`. A vector also depends on the teacher's weights and on how it hears and reads. These
decide the name of the store's folder, so a changed teacher finds nothing. Another corpus, label set, threshold or
strategy finds what is there.
"""

import copy
import csv
import hashlib
import json
from pathlib import Path

import numpy as np
from accelerate import PartialState

from ..data.identity import key_of
from ..data.keyed_files import KeyedFiles, KeyOrder, contents_of
from ..errors import InputError, reading
from ..hub_clap_student import fingerprint
from ..utils.outputs import make_folder, write_json
from ..version import __version__


CLIPS, TEXTS = "clips", "texts"  # the kinds of files in a store
_KEY = np.dtype([("key", "S16"), ("readable", "u1")])


class EmbeddingStore:
    """The embeddings of one teacher on this kind of device.

    Every process writes its own files: `KIND-….vectors` holds float32 vectors one after the other; `KIND-….keys` holds
    the key of each, and whether the clip could be read. Nothing is ever rewritten.

    Args:
        root: folder of the stores of all teachers.
        model, processor: the teacher's, on the device where it will embed.
        batch_size, dtype: the values for embedding: the last bits depend on them.
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
        self._files: dict[str, KeyedFiles] = {}
        self._indices: dict[str, _Index] = {}

    @classmethod
    def kept(cls, folder: Path, dim: int) -> "EmbeddingStore":
        """An existing store, to read only. The device and batch size with which it was written do not matter."""
        store = cls.__new__(cls)
        store.folder, store.dim, store._files, store._indices = folder, dim, {}, {}
        return store

    def add(self, kind: str, key: bytes, vector: np.ndarray | None, reason: str = "") -> None:
        """Writes an embedding, or the fact that there is none because the clip can't be read."""
        readable = vector is not None
        vector = np.zeros(self.dim, np.float32) if vector is None else np.asarray(vector, np.float32)
        if vector.shape != (self.dim,):
            raise InputError(f"an embedding of {vector.shape} does not fit the store {self.folder}: ({self.dim},)")
        try:
            if kind not in self._files:
                self._files[kind] = KeyedFiles(f"{self.folder}/{kind}-", (".vectors", ".keys"))
            if reason:
                with open(self.folder / f"{kind}-unreadable.csv", "a", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerow([key.hex(), " ".join(reason.split())])
            self._files[kind].add(vector.tobytes(), np.array([(key, readable)], _KEY).tobytes())
        except OSError as error:
            raise InputError(f"can't write embeddings to {self.folder}: {error.strerror}") from error

    def settle(self) -> None:
        """Waits for what all processes have written, and makes it known to all."""
        for files in self._files.values():
            files.close()
        self._files, self._indices = {}, {}
        PartialState().wait_for_everyone()

    def knows(self, kind: str, keys: np.ndarray) -> np.ndarray:
        """(keys,) bool: whether each key's embedding exists, or is known not to exist."""
        return self._index(kind).find(keys) >= 0

    def readable(self, kind: str, keys: np.ndarray) -> np.ndarray:
        """(keys,) bool: whether each key has an embedding. All keys must be known."""
        index = self._index(kind)
        return index.readable[index.find(keys)]

    def vectors(self, kind: str, keys: np.ndarray) -> "StoredVectors":
        """The embeddings of keys that have one, in their order. Nothing is read before it is asked for."""
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


def _identity(model, processor, batch_size: int) -> dict:
    """Everything beside the clip or text that an embedding depends on."""
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
    """The content of the files of one kind: sorted keys, and the place of each one's vector."""

    def __init__(self, folder: Path, kind: str, dim: int):
        self.files, self.starts, parts = [], [0], [np.empty(0, _KEY)]
        for file in sorted(folder.glob(f"{kind}-*.keys")):
            vectors = contents_of(file, ".vectors")
            if vectors is None:
                continue
            count = min(file.stat().st_size // _KEY.itemsize, vectors.stat().st_size // (4 * dim))
            if count:
                parts.append(np.fromfile(file, _KEY, count))
                self.files.append(vectors)
                self.starts.append(self.starts[-1] + count)
        entries = np.concatenate(parts)
        self.readable = entries["readable"].astype(bool)
        self.find = KeyOrder(entries["key"]).find


class StoredVectors:
    """(rows, dim) float32 on disk. A slice, or an array of rows, gives an array in memory. `keys` name the rows."""

    dtype = np.dtype(np.float32)

    def __init__(self, files: list[Path], starts: list[int], positions: np.ndarray, dim: int, keys: np.ndarray):
        # Half a vector at the end was left by a process that was killed. It is ignored.
        self._maps = [
            np.memmap(file, np.float32, "r", shape=(file.stat().st_size // (4 * dim), dim)) for file in files
        ]
        self._starts = np.array(starts)
        self._positions, self.keys = positions, keys
        self.shape = (len(positions), dim)

    def take(self, rows: np.ndarray) -> "StoredVectors":
        """A selection of rows, still on disk."""
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
