"""Identifies clips: by the published recording they were cut from (`freesound:123`), and by a key of their content."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
from datasets import Dataset

from ..windows_clap_student import part_name, split_part


# The columns of AudioCaps' csv, the Hub's copies of AudioSet and FSD50K, ESC-50's and UrbanSound8K's csv.
_COLUMNS = {
    "youtube": ("youtube_id", "ytid", "YTID", "video_id"),
    "freesound": ("freesound_id", "fsID", "src_file"),
}
ORIGIN_COLUMNS = ("origin_id", *(column for columns in _COLUMNS.values() for column in columns))

# Forms: 123; 123.0 from a column with gaps; 123.wav; and 123__author__title.wav, Freesound's name for downloads.
_FREESOUND = re.compile(r"0*(\d+)(\.0+)?(__.*)?(\.[A-Za-z]\w*)?", re.DOTALL)
# A video's 11 characters, with or without a Y before them and a file's extension after them.
_YOUTUBE = re.compile(r"Y?([\w-]{11})(\.(wav|flac|mp3|ogg|m4a|webm))?", re.ASCII)
_NOTHING = ("", "nan", "none", "null")


def recording(site: str, name: object) -> str | None:
    """A site's name for a recording, in one spelling for all tables; None if it is not a name there.

    `recording("freesound", " 123.0 ")` and `recording("freesound", "123.wav")` are both `freesound:123`. YouTube's ids
    keep their case.
    """
    text = "" if name is None or isinstance(name, (list, dict)) else str(name).strip()
    if text.lower() in _NOTHING:
        return None
    if site == "freesound":
        match = _FREESOUND.fullmatch(text)
        return f"freesound:{match[1]}" if match else None
    if site == "youtube" and (match := _YOUTUBE.fullmatch(text)):
        text = match[1]
    return f"{site}:{text}"


def origin_of(row: Mapping) -> str | None:
    """The recording of a row, from the first of `ORIGIN_COLUMNS` that names one."""
    site, mark, name = str(row.get("origin_id") or "").strip().partition(":")
    origin = recording(site.strip().lower(), name) if mark else None if site.lower() in _NOTHING else site
    if origin:
        return origin
    names = (recording(site, row.get(column)) for site, columns in _COLUMNS.items() for column in columns)
    return next((origin for origin in names if origin), None)


def origins_of(table: Dataset) -> list[str | None]:
    """The recording of each row of a table with any columns."""
    columns = {column: table[column][:] for column in ORIGIN_COLUMNS if column in table.column_names}
    rows: Iterable[tuple] = zip(*columns.values(), strict=True) if columns else [()] * len(table)
    return [origin_of(dict(zip(columns, values, strict=True))) for values in rows]


def key_of(*parts: str | bytes) -> bytes:
    """16 bytes that are equal for equal parts only."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        part = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(part).to_bytes(8, "little") + part)
    # numpy's byte strings end at the last byte that is not 0.
    return digest.digest()[:-1] + b"\1"


def clip_keys(clips: Iterable[dict]) -> np.ndarray:
    """(clips,) keys of rows with `audio` and `audio_id`, made of the file's path, size and modification time, or of
    the bytes.

    The key of a part also depends on its times. Each file's size and time are looked up once.
    """
    keys = _ClipKeys()
    return np.array([keys.of(clip["audio"] or {}, clip["audio_id"]) for clip in clips], "S16")


class _ClipKeys:
    def __init__(self):
        self._files: dict[str, bytes] = {}
        self._last: tuple[bytes | None, bytes] = None, b""  # the last bytes: windows of one recording share them

    def of(self, audio: dict, audio_id: str) -> bytes:
        data, (path, span) = audio.get("bytes"), split_part(audio.get("path") or "")
        if data is not None:
            if data is not self._last[0]:
                self._last = data, key_of("bytes", hashlib.blake2b(data).digest())
            key = self._last[1]
        elif not path:
            return key_of("no audio", audio_id)
        else:
            key = self._files[path] = self._files.get(path) or _file_key(path)
        return key if span is None else key_of("part", key, part_name(*span))


def _file_key(path: str) -> bytes:
    try:
        status = os.stat(path)
        return key_of("file", os.path.abspath(path), f"{status.st_size} {status.st_mtime_ns}")
    except (OSError, ValueError):  # no file, or a built-in clip
        return key_of("name", path)
