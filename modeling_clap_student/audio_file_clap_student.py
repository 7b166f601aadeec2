"""Parts of audio files, to the bit as if the file were decoded from its start; damaged files are told from whole ones.

libsndfile decodes wav, flac, ogg, mp3 and more. Its seeking is exact for some of them only, so that a read may begin
to decode earlier than it is asked to:

- uncompressed files and flac: nowhere earlier;
- Ogg Vorbis: on the last page it lands anywhere, so never later than just before that page;
- mp3: a frame may hold bits of some frames before it, so 16384 samples earlier;
- others (Opus, ADPCM …): from the start, but no further than needed.
"""

import io
import os
from contextlib import contextmanager

import numpy as np

from .errors import ClipError
from .truncation_clap_student import check_mp3_end, check_ogg_end, check_wav_end


# Optional: a checkpoint's code must load where it is missing, and only reading files needs it.
try:
    import soundfile
except (ImportError, OSError):
    soundfile = None


LONGEST_HOURS = 24
_RATES = (1000, 500_000)  # Hz; beyond, it is a damaged header
_LOUDEST = 2.0**31  # full scale of 32-bit samples that were never scaled to 1; louder is a damaged file
_BLOCK = 2**20  # samples of all channels decoded at a time

_SEEKABLE_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")
_SEEKABLE_SUBTYPES = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
# main_data_begin reaches back 511 bytes (255 below 32 kHz), and the smallest frames hold 60 (11) of them:
# 9 frames of 1152 or 23 of 576 samples.
_MP3_RESERVOIR = 16384
_LONGEST_VORBIS_BLOCK = 8192
_UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's, of a flac file that was written to a pipe
_LAST_SAMPLES = 8192  # two flac blocks: libFLAC needs up to 0.1 s to find the last sample itself in a long file


class _Decoder(soundfile.SoundFile if soundfile else object):
    """Reads on from where it is. soundfile seeks after each read, to where it is already: that costs time, and what
    is read next is as wrong as after any seek in the formats named above."""

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
    """An open file of at most 24 hours, whatever its name says it is. A context manager.

    Args:
        source: a path, or the file's bytes.

    Attributes:
        rate: Hz.
        frames: samples a channel, as the header has it; counted where it was written before they were known.

    Raises:
        ClipError: missing, not decodable, empty, too long, or seen to be cut.
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
                # Without its name: a file is what it holds, and soundfile asks for a rate where a name ends in .raw.
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
        self._kept, self._kept_from = np.empty(0, np.float32), 0  # the last read, for the next one to go on from

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        self._raw.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """The mean of the channels: (stop - start,) float32. Reads that go on where the last one was do not seek.

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

    def check_end(self) -> None:
        """Sees whether the file is whole, if it was not read to its end. The last thing to do with it.

        Of wav and its like libsndfile tells on opening, of Ogg the last page, of flac the last samples, of mp3 the
        size in its header, where an encoder left one. Other compressed files are not checked, nor is what lies
        between the parts that were read.

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
                    raise  # samples that are there, but can't be used
                raise ClipError("truncated") from error

    def _jumps_anywhere(self) -> bool:
        file = self._file
        return file.format == "FLAC" or (file.format in _SEEKABLE_FORMATS and file.subtype in _SEEKABLE_SUBTYPES)

    def _decode_from(self, start: int) -> int:
        """The latest place from which decoding gives at `start` what decoding from the beginning gives."""
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
        """Decodes the file once, block by block, to see how long it is; no further than the longest that is read."""
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


__all__ = ["LONGEST_HOURS", "AudioFile"]
