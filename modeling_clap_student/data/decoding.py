"""Decodes clips from files, bytes or the built-in corpus to mono waveforms: whole, a crop, or windows.

A crop or a window decodes only the seconds it needs. It also checks what needs no decoding: the header, the length of
the data, the last page or the last sample. Damage in another part of the clip is found when a later crop reads that
part.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from datasets import Dataset

from ..audio_clap_student import AudioFile, Samples, mono
from ..errors import ClipError, InputError
from ..feature_extraction_clap_student import ClapStudentFeatureExtractor
from ..resampling_clap_student import Resampled
from ..soundscapes import corpus as soundscapes
from ..utils.threads import ThreadedMap
from ..windows_clap_student import part_of, split_part
from .listening import Listener, Sound, listen
from .parts import encode_part, open_recording
from .skipping import SkippedClips
from .tables import refusal


# For clips that are only tried: the samples decoded at a time, the clips at a time, and a rate that is not used.
_PART, _CLIPS_AT_ONCE, _ANY_RATE = 2**20, 64, 1000
_READ_AHEAD = 6  # windows of a clip; 30 s for a model with 5-s windows


@contextmanager
def open_clip(audio: dict, sampling_rate: int) -> Iterator[Resampled]:
    """Opens one clip to read any part of it at a rate in Hz.

    `audio` is datasets' undecoded form, `{"path": ..., "bytes": ...}`; bytes take precedence. Paths that begin with
    `soundscapes://` are synthesised. A path may end in a part, `#t=2.5,7.5`. A ClipError says that a clip is missing,
    not decodable, truncated, empty or longer than 24 hours. While it is read, it says that samples are NaN, infinite
    or absurdly loud.
    """
    if audio is None:
        raise ClipError("has no audio")
    data, path = audio.get("bytes"), audio.get("path") or ""
    if (reason := refusal(audio)) is not None:
        raise ClipError(reason)
    path, span = split_part(path)
    with _open_source(path if data is None else data, span) as source:
        yield Resampled(source if span is None else part_of(source, span), sampling_rate)


def _open_source(source: str | bytes, span: tuple[float, float] | None) -> AbstractContextManager:
    if isinstance(source, str) and soundscapes.is_soundscape(source):
        return Samples(soundscapes.render(source), soundscapes.SAMPLING_RATE)
    return AudioFile(source) if span is None else open_recording(source, span[0])


def decode_clip(audio: dict, sampling_rate: int) -> np.ndarray:
    """(samples,) float32: one whole clip, the mean of its channels, resampled."""
    with open_clip(audio, sampling_rate) as clip:
        return clip.read(0, clip.length)


def decode_crop(
    audio: dict,
    sampling_rate: int,
    size: int,
    draw: int,
    fill_window: Callable[..., np.ndarray] = ClapStudentFeatureExtractor.fill_window,
) -> np.ndarray:
    """(size,) float32: exactly what a window of the whole clip, decoded and resampled, would hold.

    `draw` is a large random number that chooses the place. `fill_window` pads a clip that is shorter than the window.
    """
    with open_clip(audio, sampling_rate) as clip:
        start = crop_start(clip.length, size, draw)
        if clip.length < size:
            return fill_window(clip.read(0, clip.length), size, start)
        crop = clip.read(start, start + size)
        clip.source.check_end()
        return crop


def crop_start(length: int, size: int, draw: int) -> int:
    """Where a window begins in a longer clip, or a shorter clip in the window. All places are equally likely."""
    return draw % (abs(length - size) + 1)


def decode_windows(audio: dict, extractor, on_heard: Callable[[Sound], None] | None = None) -> Iterator[np.ndarray]:
    """The windows of a clip as a feature extractor makes them, read one by one.

    The extractor has `sampling_rate`, `window_samples` and `windows(waveform)`. `on_heard` gets the sound of the whole
    clip, after its last window.
    """
    with open_clip(audio, extractor.sampling_rate) as clip:
        if on_heard is not None:
            listener = Listener(clip.source)
            clip = Resampled(listener, extractor.sampling_rate)
        for window in clip.windows(extractor.window_samples):
            yield from extractor.windows(window)
        if on_heard is not None:
            on_heard(listener.sound())


def hear_clip(audio: dict) -> Sound:
    """Decodes a clip only to measure its sound. A ClipError as from `open_clip`."""
    with open_clip(audio, _ANY_RATE) as clip:
        return listen(clip.source)


def encoded_audio(audio: dict) -> dict:
    """A clip with its encoded bytes: a file unchanged, a built-in clip as flac, a part cut out. `path` is its name.

    A ClipError says that the part does not exist.
    """
    data, (path, span) = audio.get("bytes"), split_part(audio.get("path") or "")
    name = Path(path).name
    if span is not None:
        with _open_source(path if data is None else data, span) as source:
            data, name = encode_part(source, name, span)
    elif data is None and soundscapes.is_soundscape(path):
        file = io.BytesIO()
        soundfile.write(file, soundscapes.render(path), soundscapes.SAMPLING_RATE, format="FLAC")
        data = file.getvalue()
    elif data is None:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror}") from error
    return {"bytes": data, "path": name}


def as_encoded(audio: str | bytes | dict | None) -> dict | None:
    """A clip as a table may hold it, in datasets' undecoded form. An array becomes a wav file in memory.

    Takes a path, a file's bytes, `{"array", "sampling_rate"}`, or the undecoded form itself.
    """
    if isinstance(audio, str):
        return {"bytes": None, "path": audio}
    if isinstance(audio, bytes):
        return {"bytes": audio, "path": None}
    if audio is None or "array" not in audio:
        return audio
    if not audio.get("sampling_rate"):
        raise ClipError("is an array without its sampling_rate")
    file = io.BytesIO()
    soundfile.write(file, mono(audio["array"]), int(audio["sampling_rate"]), format="WAV", subtype="FLOAT")
    return {"bytes": file.getvalue(), "path": audio.get("path")}


def _decode_through(row: dict) -> None:
    """Decodes a whole clip, with one piece at a time in memory."""
    with open_clip(row["audio"], _ANY_RATE) as clip:
        source = clip.source
        for start in range(0, source.frames, _PART):
            source.read(start, min(start + _PART, source.frames))


class ClipWindows:
    """The windows of one clip. The first ones are read at once and may raise a ClipError. The others are read later.

    If a later window can't be read, the clip ends early and must not be used. `error` then has the reason, and
    `report` is called with it.
    """

    def __init__(self, windows: Iterator[np.ndarray], report: Callable[[str], None]):
        self.error: ClipError | None = None
        self._first = list(islice(windows, _READ_AHEAD))
        self._further = windows
        self._report = report

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self._first
        self._first = []
        try:
            yield from self._further
        except ClipError as error:
            self.error = error
            self._report(str(error))


class ClipReader:
    """Decodes the clips of a batch in parallel threads, and skips the bad ones.

    Bad clips are listed in `skipped`, which raises an InputError when they are too many.
    """

    def __init__(
        self,
        sampling_rate: int,
        skipped: SkippedClips,
        fill_window: Callable[..., np.ndarray] = ClapStudentFeatureExtractor.fill_window,
    ):
        self.sampling_rate = sampling_rate
        self.skipped = skipped
        self._fill_window = fill_window
        self._map = ThreadedMap()

    def read(self, rows: list[dict]) -> list[np.ndarray | None]:
        """Rows with `audio` and `audio_id` -> whole waveforms, None for a skipped clip."""
        return _without_errors(self._read_all(lambda row: decode_clip(row["audio"], self.sampling_rate), rows))

    def read_crops(self, rows: list[dict], size: int, draws: list[int], cache=None) -> list[np.ndarray | None]:
        """Rows -> windows at the places that the random numbers choose; None for a skipped clip.

        They are (size,) samples, or with a `SpectrogramCache` its crops of the same length.
        """

        def crop(row: dict, draw: int) -> np.ndarray:
            if cache is not None:
                return cache.crop(row, size, draw)
            return decode_crop(row["audio"], self.sampling_rate, size, draw, self._fill_window)

        return _without_errors(self._read_all(crop, rows, draws))

    def readable(self, rows: list[dict]) -> np.ndarray:
        """(rows,) bool: whether each clip decodes from beginning to end."""
        return np.array([not isinstance(result, ClipError) for result in self._read_all(_decode_through, rows)], bool)

    def read_windows(
        self, rows: list[dict], extractor, on_heard: Callable[[dict, Sound], None] | None = None
    ) -> list[ClipWindows | ClipError]:
        """Rows -> their windows as the extractor makes them, or the reason why a clip was skipped.

        `on_heard` is called with each row whose `listens` is true, and the sound of its clip, once the clip was read.
        """

        def read(row: dict) -> ClipWindows:
            hears = partial(on_heard, row) if on_heard is not None and row.get("listens") else None
            windows = decode_windows(row["audio"], extractor, hears)
            return ClipWindows(windows, lambda reason: self.skipped.add(row["audio_id"], reason))

        return self._read_all(read, rows)

    def _read_all(self, read: Callable, rows: list[dict], *arguments: list) -> list:
        """The result for each row, or its ClipError. `arguments` are lists beside the rows."""
        return self._map(partial(self._try, read), rows, *arguments)

    def _try(self, read: Callable, row: dict, *arguments):
        try:
            result = read(row, *arguments)
        except ClipError as error:
            self.skipped.add(row["audio_id"], str(error))
            return error
        self.skipped.count_tried(row["audio_id"])
        return result


def _without_errors(results: list) -> list:
    return [None if isinstance(result, ClipError) else result for result in results]


def readable_rows(table: Dataset, skipped: SkippedClips) -> np.ndarray:
    """The rows of a table whose clip decodes from beginning to end. Each clip is tried once."""
    ids = np.array(table["audio_id"][:])
    _, firsts, clips = np.unique(ids, return_index=True, return_inverse=True)
    audio = table.select_columns(["audio", "audio_id"])
    reader, parts = ClipReader(_ANY_RATE, skipped), np.array_split(firsts, -(-len(firsts) // _CLIPS_AT_ONCE))
    good = np.concatenate([reader.readable([audio[int(row)] for row in rows]) for rows in parts])
    return np.flatnonzero(good[clips])
