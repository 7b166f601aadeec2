"""Mixing two sounds so that both are equally loud to the ear: CompA's formula (Ghosh et al., arXiv 2310.08753)."""

import math
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


_FRAME = 0.1  # seconds, about
_FLOOR = 1e-10  # power; below it nothing is heard
_AT_ONCE = 8  # frames, which stay in the processor's cache: twice as fast as all of them


def a_weighting(frequency: np.ndarray) -> np.ndarray:
    """How much of a tone's power the ear hears: the A curve of IEC 61672-1, 0 dB at 1 kHz.

    Args:
        frequency: Hz, any shape.

    Returns:
        dB, the same shape, float64; -inf at 0 Hz.
    """
    with np.errstate(divide="ignore"):
        return 20 * np.log10(_response(np.asarray(frequency, np.float64)) / _response(1000.0))


def _response(frequency):
    square = frequency**2
    low = np.sqrt((square + 107.65265**2) * (square + 737.86223**2))
    return 12194.217**2 * square**2 / ((square + 20.598997**2) * low * (square + 12194.217**2))


def loudness(waveform: np.ndarray, sampling_rate: int) -> float:
    """The A-weighted level of the loudest frame.

    Frames of about 0.1 s overlap by half, under a Hann window; the last is filled up with zeros.

    Args:
        waveform: (samples,) float32.
        sampling_rate: Hz.

    Returns:
        dB relative to the mean power 1, at least -100.
    """
    window, weights = _frame(sampling_rate)
    size, hop = len(window), len(window) // 2
    count = max(0, math.ceil((len(waveform) - size) / hop)) + 1
    padded = np.pad(waveform, (0, (count - 1) * hop + size - len(waveform)))
    frames = sliding_window_view(padded, size)[::hop]
    loudest = max(_power(frames[start : start + _AT_ONCE] * window, weights) for start in range(0, count, _AT_ONCE))
    return 10 * math.log10(max(_FLOOR, loudest))


def _power(frames: np.ndarray, weights: np.ndarray) -> float:
    """Of the loudest frame."""
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
    """Two sounds at once.

    Args:
        first, second: (samples,) float32.
        level_1, level_2: their loudness, dB.
        share: of the first in what is heard, between 0 and 1; 0.5 makes them equally loud.

    Returns:
        (samples,) float32, t first + (1 - t) second over sqrt(t² + (1 - t)²), where
        t = 1 / (1 + 10^((level_1 - level_2) / 20) (1 - share) / share). Of two sounds that do not correlate and have
        the same power, the mix has that power too.
    """
    t = 1 / (1 + 10 ** ((level_1 - level_2) / 20) * (1 - share) / share)
    norm = math.hypot(t, 1 - t)
    return np.float32(t / norm) * first + np.float32((1 - t) / norm) * second


__all__ = ["a_weighting", "loudness", "mix"]
