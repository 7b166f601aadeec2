"""Keeps the fingerprint and quality of clips on disk, each under the clip's key. They do not depend on a teacher.

Every process writes its own files: `….data` holds fingerprints one after the other; `….index` holds the key and place
of each. Nothing is ever rewritten.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from accelerate import PartialState
from datasets import Dataset

from ..errors import ClipError, InputError, reading
from ..soundscapes.corpus import SCHEME
from ..utils.console import progress_bar
from ..utils.outputs import make_folder, write_json
from .decoding import hear_clip
from .filters import column_of
from .fingerprints import SETTINGS, Fingerprint
from .identity import clip_keys
from .keyed_files import KeyedFiles, KeyOrder, contents_of, share_of
from .listening import Sound
from .quality import QUALITY_FIELDS, Quality, as_numbers


_ENTRY = np.dtype(
    [("key", "S16"), ("start", "<u8"), ("cells", "<u4"), ("keys", "<u4"), ("readable", "u1"),
     ("quality", "<f4", (len(QUALITY_FIELDS),))]
)  # fmt: skip
_CLIPS_AT_ONCE = 64
_NO_WORDS = np.empty(0, np.uint32)
_ABOUT = {"fingerprints": SETTINGS, "quality": QUALITY_FIELDS, "entry": 1}


def can_be_heard(clips: Dataset) -> np.ndarray:
    """(rows,) bool: whether a row has audio that may be a copy of another clip. The built-in corpus has none."""
    audio = column_of(clips, "audio")
    paths = pc.fill_null(pc.struct_field(audio, "path"), "")
    is_there = pc.or_(pc.is_valid(pc.struct_field(audio, "bytes")), pc.not_equal(paths, ""))
    return pc.and_(is_there, pc.invert(pc.starts_with(paths, SCHEME))).to_numpy(zero_copy_only=False)


class SoundStore:
    """The sounds of clips, of one or many corpora.

    Args:
        folder: made when the first clip is heard.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._files: KeyedFiles | None = None
        self._index: _Index | None = None

    def add(self, key: bytes, sound: Sound | None) -> None:
        """Writes a clip's sound; None where it can't be read."""
        entry = np.zeros((), _ENTRY)
        entry["key"], parts = key, []
        if sound is not None:
            mark = sound.fingerprint
            parts = [mark.cells, mark.keys, mark.times]
            entry["cells"], entry["keys"], entry["readable"] = len(mark.cells), len(mark.keys), 1
            entry["quality"] = as_numbers(sound.quality)
        try:
            if self._files is None:
                self._check_settings(makes=True)
                self._files = KeyedFiles(f"{self.folder}/", (".data", ".index"))
            entry["start"] = self._files.size
            self._files.add(b"".join(part.tobytes() for part in parts), entry.tobytes())
        except OSError as error:
            raise InputError(f"can't write fingerprints to {self.folder}: {error.strerror}") from error

    def settle(self) -> None:
        """Waits for what all processes have written, and makes it known to all."""
        if self._files is not None:
            self._files.close()
        self._files = self._index = None
        PartialState().wait_for_everyone()

    def knows(self, keys: np.ndarray) -> np.ndarray:
        """(keys,) bool: whether each clip was heard, or can't be heard."""
        return self._entries().find(keys) >= 0

    def sounds(self, keys: np.ndarray) -> "Sounds":
        """The sounds of clips, in their order. Clips that were not heard, or can't be read, are silent."""
        return Sounds(self._entries(), keys)

    def hear(self, clips: Dataset, description: str) -> "Sounds":
        """The same for a table with `audio` and `audio_id`. Missing sounds are decoded; each process decodes its
        share.

        All processes must call it together.
        """
        keys = clip_keys(clips.select_columns(["audio", "audio_id"]))
        share = share_of(keys, can_be_heard(clips) & ~self.knows(keys))
        hidden = not PartialState().is_main_process or len(share) == 0
        with progress_bar(total=len(share), desc=description, unit="clip", disable=hidden) as bar:
            for row, sound in _hear_all(clips.select_columns(["audio"]), share):
                self.add(keys[row], sound)
                bar.update()
        self.settle()
        return self.sounds(keys)

    def _entries(self) -> "_Index":
        if self._index is None:
            self._check_settings(makes=False)
            self._index = _Index(self.folder)
        return self._index

    def _check_settings(self, makes: bool) -> None:
        about = self.folder / "store.json"
        if not about.exists():
            if makes:
                make_folder(self.folder)
                write_json(about, _ABOUT)
            return
        with reading(about, "description of fingerprints"):
            description = json.loads(about.read_text(encoding="utf-8"))
        if description != json.loads(json.dumps(_ABOUT)):
            raise InputError(
                f"{self.folder} holds no fingerprints, or those of another version: name another --fingerprint_store"
            )


def _hear_all(audio: Dataset, rows: np.ndarray) -> Iterator[tuple[int, Sound | None]]:
    def hear(row: int) -> Sound | None:
        try:
            return hear_clip(audio[row]["audio"])
        except ClipError:  # whoever uses the clip will report it
            return None

    left = iter(rows.tolist())
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        while batch := list(islice(left, _CLIPS_AT_ONCE)):
            yield from zip(batch, threads.map(hear, batch), strict=True)


class _Index:
    """The entries of all files. `find` gives their rows."""

    def __init__(self, folder: Path):
        tables, self.files = [np.empty(0, _ENTRY)], []
        for path in sorted(folder.glob("*.index")):
            data = contents_of(path, ".data")
            if data is None:
                continue
            table = np.fromfile(path, _ENTRY, path.stat().st_size // _ENTRY.itemsize)
            words = data.stat().st_size // 4  # an entry cut short by a kill is left out
            tables.append(table[_ends(table) <= 4 * words])
            self.files.append(np.asarray(np.memmap(data, np.uint32, "r", shape=words)) if words else _NO_WORDS)
        self.entries = np.concatenate(tables)
        self.file_of = np.repeat(np.arange(len(self.files)), [len(table) for table in tables[1:]])
        self.find = KeyOrder(self.entries["key"]).find


def _ends(entries: np.ndarray) -> np.ndarray:
    """Where each fingerprint ends, bytes."""
    return entries["start"] + 8 * (entries["cells"].astype(np.uint64) + entries["keys"])


class Sounds:
    """The sounds of some clips, in the form that `near_duplicates` takes. Nothing is read before it is asked for."""

    def __init__(self, index: _Index, keys: np.ndarray):
        self._index = index
        self._rows = index.find(keys)
        self._rows[self._rows >= 0] = np.where(
            index.entries["readable"][self._rows[self._rows >= 0]] > 0, self._rows[self._rows >= 0], -1
        )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def heard(self) -> np.ndarray:
        """(clips,) bool: whether each clip was heard."""
        return self._rows >= 0

    def postings(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys, rows and times of clips [start, stop)."""
        rows = [row for row in range(start, min(stop, len(self))) if self._rows[row] >= 0]
        parts = [self._words(row)[1] for row in rows]
        keys = [part[: len(part) // 2] for part in parts]
        times = [part[len(part) // 2 :] for part in parts]
        empty = np.empty(0, np.uint32)
        return np.concatenate([empty, *keys]), np.repeat(rows, list(map(len, keys))), np.concatenate([empty, *times])

    def num_keys(self, row: int) -> int:
        return int(self._index.entries["keys"][self._rows[row]])

    def cells(self, row: int) -> np.ndarray:
        return self._words(row)[0].reshape(-1, 2)

    def fingerprint(self, row: int) -> Fingerprint:
        """The fingerprint of a clip that was heard, in memory."""
        cells, words = (np.array(part) for part in self._words(row))
        return Fingerprint(cells.reshape(-1, 2), words[: len(words) // 2], words[len(words) // 2 :])

    def quality(self, row: int) -> Quality:
        """The quality of a clip that was heard."""
        return Quality(*self._index.entries["quality"][self._rows[row]].tolist())

    def _words(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        entry = self._index.entries[self._rows[row]]
        start, middle = int(entry["start"]) // 4, int(entry["start"]) // 4 + 2 * int(entry["cells"])
        data = self._index.files[self._index.file_of[self._rows[row]]]
        return data[start:middle], data[middle : middle + 2 * int(entry["keys"])]
