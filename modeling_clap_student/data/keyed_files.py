"""What processes find out of keys, in files that only grow: a pair for each process, contents and their entries.

A content counts once its entry is there, so that a process that is killed loses the one at hand.
"""

import io
import uuid
from pathlib import Path

import numpy as np
from accelerate import PartialState


class KeyedFiles:
    """A process's own pair of files.

    Args:
        stem: folder, and how their names begin.
        suffixes: of contents and entries.
    """

    def __init__(self, stem: str, suffixes: tuple[str, str]):
        path = f"{stem}{uuid.uuid4().hex[:12]}"
        self._contents, self._entries = (io.FileIO(path + suffix, "x") for suffix in suffixes)

    @property
    def size(self) -> int:
        """Bytes of all contents: where the next one begins."""
        return self._contents.tell()

    def add(self, content: bytes, entry: bytes) -> None:
        for file, data in ((self._contents, content), (self._entries, entry)):
            while data:
                data = data[file.write(data) :]

    def close(self) -> None:
        self._contents.close()
        self._entries.close()


class KeyOrder:
    """Finds keys among others, which are in any order."""

    def __init__(self, keys: np.ndarray):
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """(keys,) int64 positions of the first equal one, -1 where none is."""
        if len(self._sorted) == 0:
            return np.full(len(keys), -1)
        places = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[places] == keys, self._order[places], -1)


def share_of(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """This process's share of the wanted rows, each key once. All processes must call alike.

    Who looks after another has begun to write would share out something else: `wanted` is computed before this waits.
    """
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    rows, state = np.flatnonzero(first & wanted), PartialState()
    state.wait_for_everyone()
    bounds = np.linspace(0, len(rows), state.num_processes + 1).astype(int)
    return rows[bounds[state.process_index] : bounds[state.process_index + 1]]


def contents_of(entries: Path, suffix: str) -> Path | None:
    """The file of contents beside one of entries; None where it is lost: what it held is found out again."""
    contents = entries.with_suffix(suffix)
    return contents if contents.is_file() else None
