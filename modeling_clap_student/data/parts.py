"""Parts of recordings as clips: opened one after the other, and encoded as files of their own."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

import numpy as np
import soundfile

from ..audio_clap_student import AudioFile
from ..windows_clap_student import as_text, part_of


_MOST_OPEN = 16  # files that nobody reads at the moment


class _OpenFiles:
    """Files that parts were read of, kept open, so that the next part is read on from there.

    To find a place in an mp3, or in Opus, is to decode all that lies before it: once a recording, not once a part.
    """

    def __init__(self):
        self.process = os.getpid()
        self._lock, self._idle = threading.Lock(), []

    def take(self, key: tuple, start: float) -> AudioFile | None:
        """A file that nobody reads, the one that was read up to nearest before `start`, s, if there is one."""
        with self._lock:
            places = [place for place, (other, _) in enumerate(self._idle) if other == key]
            if not places:
                return None
            return self._idle.pop(max(places, key=lambda place: self._nearness(place, start)))[1]

    def _nearness(self, place: int, start: float) -> tuple[bool, int]:
        file = self._idle[place][1]
        return file.last_start <= start * file.rate, file.last_start

    def keep(self, key: tuple, file: AudioFile) -> None:
        with self._lock:
            self._idle.append((key, file))
            # Of recordings that are in memory, the last one alone.
            done = [n for n, (other, _) in enumerate(self._idle) if isinstance(other[0], bytes) and other != key]
            for place in reversed(done or range(len(self._idle) - _MOST_OPEN)):
                self._idle.pop(place)[1].close()


_open_files = _OpenFiles()


@contextmanager
def open_recording(source: str | bytes, start: float) -> Iterator[AudioFile]:
    """Opens a recording to read a part of it that begins at `start`, s; it may be open from the part before."""
    global _open_files
    if _open_files.process != os.getpid():  # a forked process would move its parent's places in them
        _open_files = _OpenFiles()
    files, key = _open_files, _key(source)
    file = files.take(key, start) or AudioFile(source)
    try:
        yield file
    except BaseException:
        file.close()
        raise
    files.keep(key, file)


def _key(source: str | bytes) -> tuple:
    if isinstance(source, bytes):
        return (source,)
    try:
        status = os.stat(source)
    except (OSError, ValueError):  # opening it tells why
        return (source,)
    return (source, status.st_size, status.st_mtime_ns)


def encode_part(source, name: str, span: tuple[float, float]) -> tuple[bytes, str]:
    """A part as a file of its own, with the very samples that are read of it, and what to call the file.

    Args:
        source: of the whole recording, with `rate`, `frames` and `read(start, stop)`.
        name: the recording's.
        span: start and end, s.
    """
    part, path = part_of(source, span), PurePath(name)
    content, suffix = _encode(part.read(0, part.frames), part.rate)
    return content, f"{path.stem}_{as_text(span[0])}-{as_text(span[1])}{suffix}"


def _encode(samples: np.ndarray, rate: int) -> tuple[bytes, str]:
    """The smallest of three formats that loses nothing: flac of 16 bits, of 24, or floating-point wav."""
    file = io.BytesIO()
    for bits in (16, 24):
        whole = samples.astype(np.float64) * 2 ** (bits - 1)
        if (whole == np.rint(whole)).all() and -(2 ** (bits - 1)) <= whole.min() and whole.max() < 2 ** (bits - 1):
            # soundfile takes integers at their full scale of 32 bits.
            integers = (whole * 2 ** (32 - bits)).astype(np.int32)
            soundfile.write(file, integers, rate, format="FLAC", subtype=f"PCM_{bits}")
            return file.getvalue(), ".flac"
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue(), ".wav"
