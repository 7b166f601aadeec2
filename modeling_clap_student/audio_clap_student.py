"""Reads audio files and arrays. Any part of a file has the same bits as if the whole file had been decoded.

libsndfile decodes wav, flac, ogg, mp3 and more. It seeks exactly in some formats only. A read therefore may start to
decode before the part that it returns:

- uncompressed files and flac: it starts at the part itself;
- Ogg Vorbis: a seek into the last page lands anywhere, so it starts at the latest just before that page;
- mp3: a frame may hold bits of some frames before it, so it starts 16384 samples earlier;
- others (Opus, ADPCM …): it starts at the beginning of the file, and stops where the part ends.
"""

import io
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from .errors import ClipError


# Optional: a checkpoint's code must load where it is missing, and only reading files needs it.
if TYPE_CHECKING:
    import soundfile
    from soundfile import SoundFile
else:
    try:
        import soundfile
        from soundfile import SoundFile
    except (ImportError, OSError):
        soundfile, SoundFile = None, object


LONGEST_HOURS = 24
_RATES = (1000, 500_000)  # Hz; anything beyond is a damaged header
_LOUDEST = 2.0**31  # full scale of 32-bit samples that nobody scaled to 1; louder means damaged
_BLOCK = 2**20  # samples of all channels decoded at a time

_SEEKABLE_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")
_SEEKABLE_SUBTYPES = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
# main_data_begin reaches back 511 bytes (255 below 32 kHz), and the smallest frames hold 60 (11) of them:
# 9 frames of 1152 or 23 of 576 samples.
_MP3_RESERVOIR = 16384
_LONGEST_VORBIS_BLOCK = 8192
_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's answer for a flac file that was written to a pipe
_LAST_SAMPLES = 8192  # two flac blocks: libFLAC needs up to 0.1 s to find the last sample itself in a long file


class _Decoder(SoundFile):
    """Continues from its position. soundfile seeks after each read, to where it already is. That costs time, and in
    the formats named above it makes the next read wrong."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _as_clip_errors():
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise ClipError(f"not decodable: {error.error_string}") from error
    except (OSError, RuntimeError) as error:
        raise ClipError(f"not decodable: {error}") from error


class AudioFile:
    """An open file of at most 24 hours. Its name says nothing about its format. A context manager.

    Args:
        source: a path, or the file's bytes.

    Attributes:
        rate: Hz.
        frames: samples per channel, from the header. They are counted where the header does not know them.

    Raises:
        ClipError: missing, not decodable, empty, too long, or visibly truncated.
        ImportError: soundfile is missing.
    """

    def __init__(self, source: str | os.PathLike | bytes):
        if soundfile is None:
            raise ImportError("reading audio files needs soundfile: pip install soundfile")
        if not isinstance(source, bytes) and not os.path.isfile(source):
            raise ClipError("no such file")
        with _as_clip_errors():
            self._raw = io.BytesIO(source) if isinstance(source, bytes) else io.FileIO(source)
        try:
            with _as_clip_errors():
                # Passed without its name: the content decides the format, and soundfile asks for a rate where a name
                # ends in .raw.
                handle = self._raw if isinstance(source, bytes) else self._raw.fileno()
                self._last_ogg_page = check_ogg_end(self._raw)
                self._raw.seek(0)
                self._file = _Decoder(handle, closefd=False)
            self.rate, self.frames = self._file.samplerate, self._file.frames
            self._check_header()
            if self.frames == _UNKNOWN_LENGTH:
                self.frames = self._count()
                self._check_length()
        except BaseException:
            self.close()
            raise
        self._position = 0  # of the decoder
        self._kept, self._kept_from = np.empty(0, np.float32), 0  # the last read; the next one continues from it

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        self._raw.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """The mean of the channels: (stop - start,) float32. A read that continues the last one does not seek.

        Raises:
            ClipError: damaged, or NaN, infinite or absurdly loud samples.
        """
        if not self._kept_from <= start <= self._position:
            self._go_to(start)
        parts = [self._kept[start - self._kept_from :]]
        if stop > self._position:
            parts.append(self._decode(stop - self._position))
        self._kept, self._kept_from = np.concatenate(parts) if len(parts[0]) else parts[-1], start
        return self._kept[: stop - start]

    @property
    def last_start(self) -> int:
        """The sample at which the last read began: everything after it can be read without seeking."""
        return self._kept_from

    def check_end(self) -> None:
        """Checks that the file is whole, if it was not read to its end. Call it last.

        The evidence depends on the format. wav and similar: libsndfile reports it on opening. Ogg: the last page.
        flac: the last samples. mp3: the size in the header, where the encoder wrote one. Other compressed files are
        not checked. Neither is anything between the parts that were read.

        Raises:
            ClipError: truncated.
        """
        if self._position == self.frames:
            return
        if self._file.subtype == "MPEG_LAYER_III":
            with _as_clip_errors():
                check_mp3_end(self._raw)
        elif self._jumps_anywhere():
            try:
                self._seek(max(0, self.frames - _LAST_SAMPLES))
                self._decode(min(self.frames, _LAST_SAMPLES))
            except ClipError as error:
                if error.__cause__ is None:
                    raise  # the samples exist, but can't be used
                raise ClipError("truncated") from error

    def _jumps_anywhere(self) -> bool:
        file = self._file
        return file.format == "FLAC" or (file.format in _SEEKABLE_FORMATS and file.subtype in _SEEKABLE_SUBTYPES)

    def _decode_from(self, start: int) -> int:
        """The latest position from which decoding gives the same samples at `start` as decoding from the beginning."""
        if self._jumps_anywhere():
            return start
        if self._file.subtype == "VORBIS":
            return max(0, min(start, self._last_ogg_page - _LONGEST_VORBIS_BLOCK))
        if self._file.subtype == "MPEG_LAYER_III":
            return max(0, start - _MP3_RESERVOIR)
        return 0

    def _seek(self, position: int) -> None:
        with _as_clip_errors():
            self._file.seek(position)
        self._position = position

    def _go_to(self, start: int) -> None:
        origin = self._decode_from(start)
        if not origin <= self._position <= start:
            self._seek(origin)
        while self._position < start:
            self._decode(min(start - self._position, self._block))
        self._kept, self._kept_from = np.empty(0, np.float32), start

    @property
    def _block(self) -> int:
        return max(1, _BLOCK // self._file.channels)

    def _decode(self, count: int) -> np.ndarray:
        """The next samples. Memory follows what the file really holds, not what its header promises."""
        parts = []
        while count:
            with _as_clip_errors():
                samples = self._file.read(min(count, self._block), dtype="float32", always_2d=True)
            if len(samples) == 0:
                raise ClipError("truncated")
            parts.append(samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32))
            self._position += len(samples)
            count -= len(samples)
            _check_samples(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _check_header(self) -> None:
        if not _RATES[0] <= self.rate <= _RATES[1]:
            raise ClipError(f"a sampling rate of {self.rate} Hz, not within {_RATES[0]} to {_RATES[1]}")
        if self.frames != _UNKNOWN_LENGTH:
            self._check_length()
        check_wav_end(self._file.extra_info)

    def _check_length(self) -> None:
        if self.frames <= 0:
            raise ClipError("holds no samples")
        if self.frames > LONGEST_HOURS * 3600 * self.rate:
            raise ClipError(f"longer than {LONGEST_HOURS} hours")

    def _count(self) -> int:
        """Decodes the file once, block by block, to find its length. Stops at the longest length that is read."""
        count = 0
        with _as_clip_errors():
            while count <= LONGEST_HOURS * 3600 * self.rate:
                samples = len(self._file.read(self._block, dtype="float32", always_2d=True))
                if samples == 0:
                    break
                count += samples
            self._file.seek(0)
        return count


def _check_samples(samples: np.ndarray) -> None:
    if not np.isfinite(samples.min() + samples.max()):
        raise ClipError("holds NaN or infinite samples")
    if max(samples.max(), -samples.min()) > _LOUDEST:
        raise ClipError("holds samples louder than any audio")


# libsndfile divides samples of each type by this. 64-bit integers are missing: their full scale is not defined.
_FULL_SCALES = {"int8": 2**7, "uint8": 2**7, "int16": 2**15, "int32": 2**31}
_MOST_CHANNELS = 32


def mono(samples) -> np.ndarray:
    """Converts an array to what a file of the same samples gives: (samples,) float32, the mean of its channels.

    Args:
        samples: floating-point numbers in [-1, 1], or integers of 8, 16 or 32 bits, which are divided by their full
            scale. The shape is (samples,), or (samples, channels) as soundfile gives it, with up to 32 channels, or
            (channels, samples) with one or two channels. More and longer rows could be several clips, and are refused.

    Raises:
        ClipError: another type of number, or a shape that is no clip or that can be read in two ways.
    """
    try:
        samples = np.asarray(samples)
    except ValueError as error:
        raise ClipError("is no array of samples: its rows differ in length") from error
    if samples.dtype.name in _FULL_SCALES:
        middle = 128 if samples.dtype == np.uint8 else 0
        samples = (samples.astype(np.float32) - middle) / np.float32(_FULL_SCALES[samples.dtype.name])
    elif not np.issubdtype(samples.dtype, np.floating):
        kinds = ", ".join(_FULL_SCALES)
        raise ClipError(f"holds {samples.dtype}: samples are floating-point numbers in [-1, 1], or {kinds}")
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 1 or samples.size == 0:
        return samples.reshape(-1)
    if samples.ndim == 2:
        rows, columns = samples.shape
        if columns < rows and columns <= _MOST_CHANNELS:
            return samples.mean(axis=1, dtype=np.float32)
        if rows < columns and rows <= 2:
            return samples.mean(axis=0, dtype=np.float32)
    raise ClipError(
        f"has the shape {samples.shape}, and a clip is (samples,) or (samples, channels): give a list of several clips"
    )


class Samples:
    """Samples in memory, with the interface of an `AudioFile`.

    Args:
        samples: as `mono` takes them.
        rate: Hz.

    Raises:
        ClipError: anything that `mono` refuses; no samples; NaN, infinite or absurdly loud samples; a bad rate.
    """

    def __init__(self, samples, rate: float):
        self._samples = mono(samples)
        if rate != int(rate) or not _RATES[0] <= rate <= _RATES[1]:
            raise ClipError(f"a sampling rate of {rate} Hz, no whole number within {_RATES[0]} to {_RATES[1]}")
        if len(self._samples) == 0:
            raise ClipError("holds no samples")
        _check_samples(self._samples)
        self.rate, self.frames = int(rate), len(self._samples)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._samples[start:stop]

    def check_end(self) -> None:
        """Nothing to check: all samples are there."""


_LONGEST_OGG_PAGE = 65307
_LONGEST_MP3_FRAME = 2881  # some programs count the header's own frame, others do not


def check_wav_end(log: str) -> None:
    """Reads libsndfile's log, which reports a data chunk shorter than its header says. Decoding silently goes on.

    Programs that write to a pipe can't know the size. They leave the largest number of 32 or 31 bits there, and such
    files are whole.

    Raises:
        ClipError: truncated.
    """
    remark = re.search(r"data : (\d+) \(should be", log)
    if remark is not None and not any(top - 2**12 <= int(remark[1]) < top for top in (2**31, 2**32)):
        raise ClipError("truncated")


def check_mp3_end(file: io.RawIOBase | io.BytesIO) -> None:
    """Compares the size of an mp3 file with the one in its Xing or Info header, if it has one.

    Raises:
        ClipError: truncated.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    tag = file.read(10)
    start = 0
    if len(tag) == 10 and tag[:3] == b"ID3":
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(192)
    tag_start = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag_start < 0 or len(frame) < tag_start + 16:
        return
    flags, *counts = (int.from_bytes(frame[tag_start + i : tag_start + i + 4], "big") for i in (4, 8, 12))
    stated = counts[flags & 1] if flags & 2 else 0  # the size follows the number of frames, where that exists
    if size - start < stated - _LONGEST_MP3_FRAME:
        raise ClipError("truncated")


def check_ogg_end(file: io.RawIOBase | io.BytesIO) -> int:
    """Looks for the page marked as the last of an Ogg file. libsndfile takes a truncated file for a shorter clip.

    Returns:
        the sample at which that page begins; 0 where it is unknown, or for files of other kinds.

    Raises:
        ClipError: truncated.
    """
    file.seek(0)
    head = file.read(18)
    if head[:4] != b"OggS":
        return 0
    file.seek(max(0, file.seek(0, io.SEEK_END) - 2 * _LONGEST_OGG_PAGE))
    tail = file.read()
    last = tail.rfind(b"OggS")
    page = tail[last:] if last >= 0 else b""
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if not segments or not page[5] & 4 or len(page) < 27 + page[26] + sum(segments):
        raise ClipError("truncated")
    before = tail.rfind(b"OggS", 0, last)
    if before < 0 or len({head[14:18], tail[before + 14 : before + 18], tail[last + 14 : last + 18]}) > 1:
        return 0  # several streams: each counts its samples from 0
    return max(0, int.from_bytes(tail[before + 6 : before + 14], "little", signed=True))
