"""Keys under which what was computed of clips and texts is kept.

A clip's key follows from its file (path, size, time of change) or its bytes, a text's from its words.
"""

import hashlib
import os
from collections.abc import Iterable

import numpy as np


def key_of(*parts: str | bytes) -> bytes:
    """16 bytes that are equal for equal parts alone."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        part = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(part).to_bytes(8, "little") + part)
    # numpy's byte strings end at the last byte that is not 0.
    return digest.digest()[:-1] + b"\1"


def clip_keys(clips: Iterable[dict]) -> np.ndarray:
    """(clips,) keys of rows with `audio` and `audio_id`; each file is asked once for its size and time of change."""
    of_files: dict[str, bytes] = {}
    return np.array([_clip_key(clip["audio"] or {}, clip["audio_id"], of_files) for clip in clips], "S16")


def _clip_key(audio: dict, audio_id: str, of_files: dict[str, bytes]) -> bytes:
    if audio.get("bytes") is not None:
        return key_of("bytes", hashlib.blake2b(audio["bytes"]).digest())
    path = audio.get("path")
    if not path:
        return key_of("no audio", audio_id)
    if path not in of_files:
        try:
            status = os.stat(path)
            of_files[path] = key_of("file", os.path.abspath(path), f"{status.st_size} {status.st_mtime_ns}")
        except (OSError, ValueError):  # none, or one that the package makes itself
            of_files[path] = key_of("name", path)
    return of_files[path]
