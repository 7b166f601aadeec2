"""Finds copies of evaluation clips in a stream. Each clip is heard as it comes; only fingerprints stay in memory."""

from collections.abc import Sequence

import numpy as np

from ..errors import ClipError
from .decoding import hear_clip
from .fingerprints import Fingerprint
from .identity import clip_keys
from .near_duplicates import SoundIndex


_REMEMBERED = 2**18  # clips that are not heard again when they come again; about 25 MB


class Fingerprints:
    """Some fingerprints in memory, in the form that `near_duplicates` takes."""

    def __init__(self, fingerprints: Sequence[Fingerprint]):
        self._fingerprints = fingerprints

    def __len__(self) -> int:
        return len(self._fingerprints)

    def postings(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        marks, none = self._fingerprints[start:stop], np.empty(0, np.uint32)
        rows = np.repeat(np.arange(start, start + len(marks)), [len(mark.keys) for mark in marks])
        return (
            np.concatenate([none, *(m.keys for m in marks)]),
            rows,
            np.concatenate([none, *(m.times for m in marks)]),
        )

    def num_keys(self, row: int) -> int:
        return len(self._fingerprints[row].keys)

    def cells(self, row: int) -> np.ndarray:
        return self._fingerprints[row].cells


class StreamSounds:
    """Says of one clip after the other whether it sounds like a clip that no run may learn from.

    It is pickled for a loader's workers. Several threads may call it at once.
    """

    def __init__(self, fingerprints: Sequence[Fingerprint]):
        self._index = SoundIndex(Fingerprints(fingerprints))
        self._known: dict[bytes, bool] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_known": {}}

    def holds(self, row: dict) -> bool:
        """For a row with `audio` and `audio_id`; decodes the whole clip. A clip that can't be read is no copy."""
        key = bytes(clip_keys([row])[0])
        if key not in self._known:
            try:
                heard = hear_clip(row["audio"])
            except ClipError:  # whoever uses the clip will report it
                return False
            is_copy = bool(self._index.pairs(Fingerprints([heard.fingerprint])))
            if len(self._known) >= _REMEMBERED:
                return is_copy
            self._known[key] = is_copy
        return self._known[key]
