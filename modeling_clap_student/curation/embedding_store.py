"""Embeddings on disk, each under a key of its own: written as they are computed, found by any later run.

Keys are those of `data.identity`. What a vector depends on beside that, the teacher's weights and how it hears and
reads, is the name of the store's folder: a changed teacher finds nothing. Another corpus, label set, threshold or
strategy finds what is there.
"""

import csv
import hashlib
import io
import json
import uuid
from pathlib import Path

import numpy as np
from accelerate import PartialState

from ..data.identity import key_of
from ..errors import InputError, reading
from ..hub_clap_student import fingerprint
from ..utils.outputs import make_folder, write_json
from ..version import __version__


_KEY = np.dtype([("key", "S16"), ("readable", "u1")])


class EmbeddingStore:
    """The embeddings of one teacher on this kind of device.

    Every process writes files of its own: `KIND-….vectors`, float32 vectors one behind the other, and
    `KIND-….keys`, what each is of and whether the clip could be read; a vector counts once its key is there. A process
    that is killed loses what it had not written: the batch at hand. Nothing is ever rewritten.

    Args:
        root: folder of the stores of all teachers.
        model: the teacher, on the device where it will embed.
        processor: the model's own.
        batch_size: as it will embed: the last bits depend on it.
        dtype: as it will embed, see `for_inference`.

    Raises:
        InputError: the folder can't be made or read, or holds another teacher's embeddings.
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
            held = json.loads(about.read_text(encoding="utf-8"))
        if held != identity:
            raise InputError(f"{self.folder} holds the embeddings of another teacher: remove it")
        self._own: dict[str, tuple[io.FileIO, io.FileIO]] = {}
        self._parts: dict[str, _Parts] = {}

    def add(self, kind: str, key: bytes, vector: np.ndarray | None, reason: str = "") -> None:
        """Writes an embedding, or that there is none because the clip can't be read.

        Raises:
            InputError: the disk is full, or can't be written.
        """
        readable = vector is not None
        vector = np.zeros(self.dim, np.float32) if vector is None else np.asarray(vector, np.float32)
        if vector.shape != (self.dim,):
            raise InputError(f"an embedding of {vector.shape} does not fit the store {self.folder}: ({self.dim},)")
        try:
            vectors, keys = self._files(kind)
            if reason:
                with open(self.folder / f"{kind}-unreadable.csv", "a", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerow([key.hex(), " ".join(reason.split())])
            _write(vectors, vector.tobytes())
            _write(keys, np.array([(key, readable)], _KEY).tobytes())
        except OSError as error:
            raise InputError(f"can't write embeddings to {self.folder}: {error.strerror}") from error

    def _files(self, kind: str) -> tuple[io.FileIO, io.FileIO]:
        if kind not in self._own:
            name = f"{kind}-{uuid.uuid4().hex[:12]}"
            self._own[kind] = tuple(io.FileIO(self.folder / f"{name}.{what}", "x") for what in ("vectors", "keys"))
        return self._own[kind]

    def settle(self) -> None:
        """Waits for what all processes have written, and makes it known to all."""
        for files in self._own.values():
            for file in files:
                file.close()
        self._own, self._parts = {}, {}
        PartialState().wait_for_everyone()

    def knows(self, kind: str, keys: np.ndarray) -> np.ndarray:
        """(keys,) bool: whether each one's embedding is there, or that there is none."""
        return self._part(kind).find(keys) >= 0

    def readable(self, kind: str, keys: np.ndarray) -> np.ndarray:
        """(keys,) bool: whether each one, all known, has an embedding."""
        part = self._part(kind)
        return part.readable[part.find(keys)]

    def vectors(self, kind: str, keys: np.ndarray) -> "StoredVectors":
        """The embeddings of keys that have one, in their order: nothing is read before it is asked for."""
        part = self._part(kind)
        return StoredVectors(part.files, part.starts, part.find(keys), self.dim)

    def reasons(self, kind: str) -> dict[bytes, str]:
        """key -> why the clip can't be read."""
        file = self.folder / f"{kind}-unreadable.csv"
        if not file.exists():
            return {}
        with open(file, encoding="utf-8", newline="") as rows:
            return {bytes.fromhex(row[0]): row[1] for row in csv.reader(rows) if len(row) == 2}

    def _part(self, kind: str) -> "_Parts":
        if kind not in self._parts:
            self._parts[kind] = _Parts(self.folder, kind, self.dim)
        return self._parts[kind]


class _Parts:
    """What the files of one kind hold: keys in order, and where each one's vector lies."""

    def __init__(self, folder: Path, kind: str, dim: int):
        self.files, keys, readable, self.starts = [], [], [], [0]
        for file in sorted(folder.glob(f"{kind}-*.keys")):
            vectors = file.with_suffix(".vectors")
            if not vectors.is_file():
                continue  # lost: what it held is embedded again
            count = min(file.stat().st_size // _KEY.itemsize, vectors.stat().st_size // (4 * dim))
            if count:
                held = np.fromfile(file, _KEY, count)
                keys.append(held["key"])
                readable.append(held["readable"].astype(bool))
                self.files.append(vectors)
                self.starts.append(self.starts[-1] + count)
        keys = np.concatenate(keys) if keys else np.empty(0, "S16")
        self.readable = np.concatenate(readable) if readable else np.empty(0, bool)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """(keys,) int64 positions, -1 for one that is not there."""
        if len(self._sorted) == 0:
            return np.full(len(keys), -1)
        places = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[places] == keys, self._order[places], -1)


class StoredVectors:
    """(rows, dim) float32 on disk; a slice, or an array of rows, is an array in memory.

    Args:
        files: of vectors.
        starts: position of each one's first vector, and the end.
        positions: (rows,) of the vectors.
        dim: of each.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, files: list[Path], starts: list[int], positions: np.ndarray, dim: int):
        self._maps = [_mapped(file, dim) for file in files]
        self._starts = np.array(starts)
        self._positions = positions
        self.shape = (len(positions), dim)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows) -> np.ndarray:
        if isinstance(rows, (int, np.integer)):
            return self[[rows]][0]
        positions = self._positions[rows]
        parts = np.searchsorted(self._starts, positions, side="right") - 1
        found = np.empty((len(positions), self.shape[1]), np.float32)
        for part in np.unique(parts):
            here = parts == part
            found[here] = self._maps[part][positions[here] - self._starts[part]]
        return found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def _mapped(file: Path, dim: int) -> np.ndarray:
    """(vectors, dim); half a vector at the end, of a process that was killed, is left out."""
    count = file.stat().st_size // (4 * dim)
    return np.memmap(file, np.float32, "r", shape=(count, dim))


def _write(file: io.FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _identity(model, processor, batch_size: int) -> dict:
    """All that an embedding depends on beside the clip or text."""
    return {
        "teacher": fingerprint(model),
        "device": model.device.type,
        "batch_size": batch_size,
        "feature_extractor": json.loads(processor.feature_extractor.to_json_string()),
        "tokenizer": _tokenizer_digest(processor.tokenizer),
        "version": __version__,
    }


def _tokenizer_digest(tokenizer) -> str:
    if hasattr(tokenizer, "backend_tokenizer"):
        reads = json.loads(tokenizer.backend_tokenizer.to_str())
        for setting_of_the_last_call in ("padding", "truncation"):
            reads.pop(setting_of_the_last_call, None)
    else:
        reads = sorted(tokenizer.get_vocab().items())
    return key_of(json.dumps(reads)).hex()
