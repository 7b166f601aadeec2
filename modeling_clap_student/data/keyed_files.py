"""Stores what processes compute for keys, in files that only grow. Each process has a pair: contents and entries.

A content counts once its entry is written. A process that is killed loses only its current one.
"""

import io
import uuid
from pathlib import Path

import numpy as np
from accelerate import PartialState


class KeyedFiles:
    """A process's own pair of files.

    Args:
        stem: the folder and the beginning of the files' names.
        suffixes: of the file of contents and the file of entries.
    """

    def __init__(self, stem: str, suffixes: tuple[str, str]):
        path = f"{stem}{uuid.uuid4().hex[:12]}"
        self._contents, self._entries = (io.FileIO(path + suffix, "x") for suffix in suffixes)

    @property
    def size(self) -> int:
        """Bytes of all contents: the place where the next one begins."""
        return self._contents.tell()

    def add(self, content: bytes, entry: bytes) -> None:
        for file, data in ((self._contents, content), (self._entries, entry)):
            while data:
                data = data[file.write(data) :]

    def close(self) -> None:
        self._contents.close()
        self._entries.close()


class KeyOrder:
    """Finds keys in an unsorted list of keys."""

    def __init__(self, keys: np.ndarray):
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """(keys,) int64 positions of the first equal key, -1 where there is none."""
        if len(self._sorted) == 0:
            return np.full(len(keys), -1)
        places = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[places] == keys, self._order[places], -1)


def share_of(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """This process's share of the wanted rows, each key once. All processes must call it with the same rows.

    A process must compute `wanted` before another begins to write, or it would split another list. So `wanted` is
    computed before this function waits.
    """
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    rows, state = np.flatnonzero(first & wanted), PartialState()
    state.wait_for_everyone()
    bounds = np.linspace(0, len(rows), state.num_processes + 1).astype(int)
    return rows[bounds[state.process_index] : bounds[state.process_index + 1]]


def contents_of(entries: Path, suffix: str) -> Path | None:
    """The file of contents beside a file of entries. None if it is lost; its contents are then computed again."""
    contents = entries.with_suffix(suffix)
    return contents if contents.is_file() else None
