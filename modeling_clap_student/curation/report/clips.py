"""What the report shows of a clip: a short excerpt that any browser plays, and its spectrogram, as data URIs."""

import base64
import io
from dataclasses import dataclass
from functools import lru_cache

import matplotlib
import numpy as np
import soundfile
from PIL import Image
from transformers.audio_utils import mel_filter_bank

from ...data.decoding import open_clip


MAX_SECONDS = 10
RATE = 24_000
# mp3 is the one compressed format that every browser plays. At a constant rate its size is known before the audio is.
BITS_A_SECOND = 40_000
_LEVEL_OF_40_KBIT = 0.8  # libsndfile's scale, from 160 kbit/s at 0 to 8 at 1, for 24 kHz

_COLUMNS, _MEL_BINS, _FREQUENCIES = 240, 64, (50, RATE // 2)
_N_FFT = 1024
_DECIBELS = 70  # below the loudest, where a picture is black
_COLORS = 64  # more can't be told apart, but make the file larger

# The most that a clip adds to the page, in bytes. Pictures are smaller than their pixels, or not much larger.
MAX_CLIP_BYTES = (MAX_SECONDS * BITS_A_SECOND // 8 + _COLUMNS * _MEL_BINS + 2048) * 4 // 3


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a clip.

    Attributes:
        audio: data URI of an mp3.
        spectrogram: data URI of a png, log-mel.
        seconds: length of the excerpt.
        clip_seconds: length of the clip.
    """

    audio: str
    spectrogram: str
    seconds: float
    clip_seconds: float


def read_excerpt(audio: dict | None) -> Excerpt:
    """Decodes the first `MAX_SECONDS` of a clip, mono.

    Args:
        audio: datasets' undecoded form, `{"path": ..., "bytes": ...}`.

    Raises:
        ClipError: missing or damaged.
        InputError: no clip of the built-in corpus.
    """
    with open_clip(audio, RATE) as clip:
        length = clip.length
        samples = clip.read(0, min(length, MAX_SECONDS * RATE))
    return Excerpt(
        _data_uri("audio/mpeg", _mp3(samples)),
        _data_uri("image/png", _picture(_log_mel(samples))),
        len(samples) / RATE,
        length / RATE,
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _mp3(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, samples.clip(-1, 1), RATE, format="MP3", compression_level=_LEVEL_OF_40_KBIT, bitrate_mode="CONSTANT"
    )
    return file.getvalue()


@lru_cache(maxsize=1)
def _mel_matrix() -> np.ndarray:
    """(_N_FFT / 2 + 1, _MEL_BINS)."""
    return mel_filter_bank(_N_FFT // 2 + 1, _MEL_BINS, *_FREQUENCIES, RATE, norm="slaney", mel_scale="slaney")


def _log_mel(samples: np.ndarray) -> np.ndarray:
    """(samples,) -> (_MEL_BINS, _COLUMNS) decibels: as many columns for a short clip as for a long one."""
    padded = np.pad(samples, _N_FFT // 2)
    starts = np.linspace(0, len(samples), _COLUMNS, endpoint=False).astype(int)
    frames = padded[starts[:, None] + np.arange(_N_FFT)] * np.hanning(_N_FFT)
    power = np.abs(np.fft.rfft(frames)) ** 2
    return 10 * np.log10(np.maximum(power @ _mel_matrix(), 1e-10)).T


def _picture(decibels: np.ndarray) -> bytes:
    """A png with a palette, low frequencies below, of the `_DECIBELS` under the loudest."""
    level = (decibels - decibels.max()) / _DECIBELS + 1
    image = Image.fromarray((level.clip(0, 1) * (_COLORS - 1)).round().astype(np.uint8)[::-1].copy(), "L")
    palette = matplotlib.colormaps["magma"](np.linspace(0, 1, _COLORS), bytes=True)[:, :3]
    image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
