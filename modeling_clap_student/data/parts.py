"""Parts of recordings as clips: read one after the other, and encoded as files of their own."""

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


_MOST_OPEN = 16  # open files that nobody is reading


class _OpenFiles:
    """Keeps files open from which parts were read, so that the next part continues there.

    To reach a position in an mp3 or Opus file, everything before it must be decoded. This way it happens once per
    recording, not once per part.
    """

    def __init__(self):
        self.process = os.getpid()
        self._lock, self._idle = threading.Lock(), []

    def take(self, key: tuple, start: float) -> AudioFile | None:
        """A file that nobody is reading, with the position nearest before `start`, s; None if there is none."""
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
            # Of recordings in memory, only the last one is kept.
            done = [n for n, (other, _) in enumerate(self._idle) if isinstance(other[0], bytes) and other != key]
            for place in reversed(done or range(len(self._idle) - _MOST_OPEN)):
                self._idle.pop(place)[1].close()


_open_files = _OpenFiles()


@contextmanager
def open_recording(source: str | bytes, start: float) -> Iterator[AudioFile]:
    """Opens a recording to read the part that begins at `start`, s. It may still be open from the part before."""
    global _open_files
    if _open_files.process != os.getpid():  # a forked process would move its parent's positions
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
    except (OSError, ValueError):  # opening it will say why
        return (source,)
    return (source, status.st_size, status.st_mtime_ns)


def encode_part(source, name: str, span: tuple[float, float]) -> tuple[bytes, str]:
    """Encodes a part as a file of its own, with exactly its samples, and returns the file's name.

    Args:
        source: the whole recording, with `rate`, `frames` and `read(start, stop)`.
        name: the recording's name.
        span: start and end, s.
    """
    part, path = part_of(source, span), PurePath(name)
    content, suffix = _encode(part.read(0, part.frames), part.rate)
    return content, f"{path.stem}_{as_text(span[0])}-{as_text(span[1])}{suffix}"


def _encode(samples: np.ndarray, rate: int) -> tuple[bytes, str]:
    """The smallest of three lossless formats: flac of 16 bits, flac of 24 bits, or floating-point wav."""
    file = io.BytesIO()
    for bits in (16, 24):
        whole = samples.astype(np.float64) * 2 ** (bits - 1)
        if (whole == np.rint(whole)).all() and -(2 ** (bits - 1)) <= whole.min() and whole.max() < 2 ** (bits - 1):
            # soundfile takes integers at the full scale of 32 bits.
            integers = (whole * 2 ** (32 - bits)).astype(np.int32)
            soundfile.write(file, integers, rate, format="FLAC", subtype=f"PCM_{bits}")
            return file.getvalue(), ".flac"
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue(), ".wav"
