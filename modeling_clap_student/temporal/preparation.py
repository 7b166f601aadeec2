"""Prepares clips for scenes: all get the same level and no silence around them, so only the order differs."""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from datasets import Dataset
from numpy.lib.stride_tricks import sliding_window_view

from ..data.decoding import decode_clip
from ..data.skipping import SkippedClips
from ..errors import ClipError, InputError


SHORTEST = 0.5  # seconds that are kept of a clip, where it has them

_SILENCE = 10 ** (-60 / 20)  # of the peak
_LEVEL = 10 ** (-26 / 20)  # root mean square, of a full scale of 1
_PEAK = 0.99
_FADE = 0.02  # seconds
_BLOCK = 512  # samples whose energy is looked at together
_MOST_BYTES = 2**30  # of decoded clips in memory; 1,200 clips of 5 s at 44.1 kHz


def trim_silence(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """A clip without the silence around it: what lies before the first and behind the last sample within 60 dB of its
    peak, but at least half a second of it, scaled to a peak of 1."""
    level = np.abs(waveform)
    peak = level.max()
    if peak == 0:
        raise ClipError("is silent")
    loud = np.flatnonzero(level >= np.float32(_SILENCE) * peak)
    shortest = round(SHORTEST * sampling_rate)
    stop = min(len(waveform), max(loud[-1] + 1, loud[0] + shortest))
    start = max(0, min(loud[0], stop - shortest))
    return waveform[start:stop] / peak


def excerpt(waveform: np.ndarray, size: int, seed: list[int]) -> np.ndarray:
    """A part of a long clip, or a short clip repeated.

    The part lies around a random moment. Louder moments are likelier, so no part is the silence between two barks. The
    waveform must not be all zeros.
    """
    spare = len(waveform) - size
    if spare <= 0:
        return np.resize(waveform, size)
    rng = np.random.default_rng(seed)
    energy = np.add.reduceat(np.square(waveform), np.arange(0, len(waveform), _BLOCK), dtype=np.float64).cumsum()
    moment = _BLOCK * int(np.searchsorted(energy, rng.random() * energy[-1], side="right"))
    first, last = max(0, moment + _BLOCK - size), min(moment, spare)
    start = int(rng.integers(min(first, last), last + 1))
    return waveform[start : start + size]


def set_level(waveform: np.ndarray) -> np.ndarray:
    """A sound, not all zeros, at -26 dB of full scale (RMS), or lower where its peak would exceed 0.99."""
    level = np.sqrt(np.mean(np.square(waveform), dtype=np.float64))
    return waveform * np.float32(min(_LEVEL / level, _PEAK / np.abs(waveform).max()))


def fade_ends(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Fades a sound in and out, linearly, within 20 ms."""
    size = round(_FADE * sampling_rate)
    ramp = ((np.arange(size) + 0.5) / size).astype(np.float32)
    faded = waveform.copy()
    faded[:size] *= ramp
    faded[len(faded) - size :] *= ramp[::-1]
    return faded


def limit_peak(waveform: np.ndarray) -> np.ndarray:
    """Lowers a sound whose peak exceeds 0.99 to that peak."""
    peak = np.abs(waveform).max()
    return waveform if peak <= _PEAK else waveform * np.float32(_PEAK / peak)


class PreparedClips:
    """Decoded and prepared clips by their id. The last ones stay in memory. Several threads may ask at once.

    Args:
        clips: table with `audio audio_id`.
        skipped: where clips that can't be used are listed. It raises an InputError when they are too many.
        prepare: what is done to a waveform once, which may raise a ClipError; None for nothing.
        most_bytes: of waveforms in memory.
    """

    def __init__(
        self,
        clips: Dataset,
        sampling_rate: int,
        skipped: SkippedClips,
        prepare: Callable[[np.ndarray, int], np.ndarray] | None,
        most_bytes: int = _MOST_BYTES,
    ):
        self.sampling_rate = sampling_rate
        self.skipped = skipped
        self.most_bytes = most_bytes
        self._prepare = prepare
        self._clips = clips.select_columns(["audio", "audio_id"])
        self._rows = {audio_id: row for row, audio_id in enumerate(clips["audio_id"][:])}
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._bad: dict[str, str] = {}

    def __reduce__(self):  # a copy, in another process for instance, begins with an empty memory
        return PreparedClips, (self._clips, self.sampling_rate, self.skipped, self._prepare, self.most_bytes)

    def __getitem__(self, audio_id: str) -> np.ndarray:
        """(samples,) float32, not to be written to; a clip that can't be used is listed the first time."""
        if audio_id in self._bad:
            raise ClipError(self._bad[audio_id])
        with self._lock:
            if audio_id in self._memory:
                self._memory.move_to_end(audio_id)
                return self._memory[audio_id]
        # Outside the lock: two threads that miss one clip at once both decode it, which does no harm.
        try:
            waveform = self.original(audio_id)
            waveform = waveform if self._prepare is None else self._prepare(waveform, self.sampling_rate)
        except ClipError as error:
            self._bad[audio_id] = str(error)
            self.skipped.add(audio_id, str(error))
            raise
        waveform.flags.writeable = False
        self.skipped.count_tried(audio_id)
        with self._lock:
            if audio_id not in self._memory:
                self._memory[audio_id] = waveform
                self._bytes += waveform.nbytes
            while self._bytes > self.most_bytes:
                self._bytes -= self._memory.popitem(last=False)[1].nbytes
        return waveform

    def original(self, audio_id: str) -> np.ndarray:
        """(samples,) float32: the clip as it is, decoded anew."""
        if audio_id not in self._rows:
            raise InputError(f"there is no clip {audio_id!r} among the {len(self._rows)} given: are they other clips?")
        return decode_clip(self._clips[self._rows[audio_id]]["audio"], self.sampling_rate)


_FRAME = 0.1  # seconds, about
_FLOOR = 1e-10  # power; below it nothing is heard
_AT_ONCE = 8  # frames, which stay in the processor's cache: twice as fast as all of them


def a_weighting(frequency: np.ndarray) -> np.ndarray:
    """Hz -> dB: how much of a tone's power the ear hears: the A curve of IEC 61672-1, 0 dB at 1 kHz, -inf at 0 Hz."""
    with np.errstate(divide="ignore"):
        return 20 * np.log10(_response(np.asarray(frequency, np.float64)) / _response(1000.0))


def _response(frequency):
    square = frequency**2
    low = np.sqrt((square + 107.65265**2) * (square + 737.86223**2))
    return 12194.217**2 * square**2 / ((square + 20.598997**2) * low * (square + 12194.217**2))


def loudness(waveform: np.ndarray, sampling_rate: int) -> float:
    """The A-weighted level of the loudest frame: dB relative to the mean power 1, at least -100.

    Frames of about 0.1 s overlap by half, under a Hann window; the last is filled up with zeros.
    """
    window, weights = _frame(sampling_rate)
    size, hop = len(window), len(window) // 2
    count = max(0, math.ceil((len(waveform) - size) / hop)) + 1
    padded = np.pad(waveform, (0, (count - 1) * hop + size - len(waveform)))
    frames = sliding_window_view(padded, size)[::hop]
    loudest = max(_power(frames[start : start + _AT_ONCE] * window, weights) for start in range(0, count, _AT_ONCE))
    return 10 * math.log10(max(_FLOOR, loudest))


def _power(frames: np.ndarray, weights: np.ndarray) -> float:
    """The loudest frame's."""
    spectrum = np.fft.rfft(frames)
    # No matrix product: for this size one in several threads takes longer, and much longer on a busy machine.
    return ((spectrum.real**2 + spectrum.imag**2) * weights).sum(axis=1).max()


@lru_cache(maxsize=8)
def _frame(sampling_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The window, (n,), and the weight of each bin's power, (n/2 + 1,), so that their sum is the frame's power.

    In float64, in which numpy's transform takes half as long as in float32.
    """
    size = 2 ** round(math.log2(_FRAME * sampling_rate))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    weights = 10 ** (a_weighting(np.fft.rfftfreq(size, 1 / sampling_rate)) / 10)
    weights[1:-1] *= 2  # the bins of negative frequency
    return window, weights / (size * (window**2).sum())


def mix(first: np.ndarray, second: np.ndarray, level_1: float, level_2: float, share: float = 0.5) -> np.ndarray:
    """Two sounds of a loudness in dB at once: t first + (1 - t) second over sqrt(t² + (1 - t)²), where
    t = 1 / (1 + 10^((level_1 - level_2) / 20) (1 - share) / share).

    A share of 0.5 makes them equally loud. Of two sounds that do not correlate and have the same power, the mix has
    that power too. Source: CompA, Ghosh et al. 2023, arXiv 2310.08753.
    """
    t = 1 / (1 + 10 ** ((level_1 - level_2) / 20) * (1 - share) / share)
    norm = math.hypot(t, 1 - t)
    return np.float32(t / norm) * first + np.float32((1 - t) / norm) * second
