"""Changes the sampling rate: windowed sinc interpolation with torchaudio's weights, of a whole signal or a part."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided


_ZERO_CROSSINGS = 6
_ROLLOFF = 0.99
_MANY_PHASES = 2000
# Multiplications in a product that OpenBLAS computes in one thread. Where readers already use all cores, more
# threads would wait for a core: a hundred times as long, on a busy machine.
_ONE_THREAD = 2**18
_PHASES_AT_ONCE = 32  # more would waste work on zeros, fewer would make the products too small


@dataclass(frozen=True)
class _Filters:
    """One block: `stride` samples in, `outputs` samples out.

    Attributes:
        reach: how many samples before and after the block an output hears.
        groups: for some consecutive outputs each: the first sample they hear, relative to the block, and their weights
            (taps, outputs).
    """

    stride: int
    outputs: int
    reach: int
    groups: tuple[tuple[int, np.ndarray], ...]


def _filters(from_rate: int, to_rate: int) -> _Filters:
    """Made once: a corpus has few rates. If two threads miss the cache at once, both make them, which does no harm."""
    common = to_rate // math.gcd(from_rate, to_rate) <= _MANY_PHASES
    return _common_filters(from_rate, to_rate) if common else _odd_filters(from_rate, to_rate)


def _make_filters(from_rate: int, to_rate: int) -> _Filters:
    divisor = math.gcd(from_rate, to_rate)
    period_in, period_out = from_rate // divisor, to_rate // divisor
    cutoff = min(period_in, period_out) * _ROLLOFF
    width = math.ceil(_ZERO_CROSSINGS * period_in / cutoff)
    # Short periods: several of them make a block. Rows that overlap by more than their length can't be a matrix
    # view.
    most_taps = _PHASES_AT_ONCE * period_in // period_out + 2 * width + 4
    periods = -(-most_taps // period_in)
    groups = []
    for begin in range(0, periods * period_out, _PHASES_AT_ONCE):
        output = np.arange(begin, min(begin + _PHASES_AT_ONCE, periods * period_out))
        period, phase = np.divmod(output, period_out)
        first = begin * period_in // period_out - width
        tap = np.arange(first, output[-1] * period_in // period_out + width + 2)
        # torchaudio rounds the phase to float32. The same rounding gives the same weights.
        delay = (phase.astype(np.float32) / np.float32(period_out)).astype(np.float64)
        time = ((tap[:, None] - period * period_in) / period_in - delay) * cutoff
        time = time.clip(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
        weights = np.sinc(time) * np.cos(time * np.pi / _ZERO_CROSSINGS / 2) ** 2 * cutoff / period_in
        groups.append((first, weights.astype(np.float32)))
    return _Filters(periods * period_in, periods * period_out, width + 2, tuple(groups))


_common_filters = lru_cache(maxsize=16)(_make_filters)
_odd_filters = lru_cache(maxsize=1)(_make_filters)  # up to 90 MB each, mostly from damaged headers


def resampled_length(length: int, from_rate: int, to_rate: int) -> int:
    """How many samples `length` samples become."""
    return -(-length * to_rate // from_rate)


def _resample_part(samples: np.ndarray, begin: int, start: int, stop: int, filters: _Filters) -> np.ndarray:
    """Samples [start, stop) of a resampled signal. `samples` begin at `begin` in the source; the rest is silence."""
    first_block, end_block = start // filters.outputs, -(-stop // filters.outputs)
    blocks = end_block - first_block
    heard_from = first_block * filters.stride + min(first for first, _ in filters.groups)
    heard_to = (end_block - 1) * filters.stride + max(first + len(weights) for first, weights in filters.groups)
    padded = np.zeros(heard_to - heard_from, np.float32)
    low, high = max(begin, heard_from), min(begin + len(samples), heard_to)
    if low < high:
        padded[low - heard_from : high - heard_from] = samples[low - begin : high - begin]
    out = np.empty((blocks, filters.outputs), np.float32)
    column = 0
    for first, weights in filters.groups:
        taps, outputs = weights.shape
        offset = first_block * filters.stride + first - heard_from
        rows = as_strided(padded[offset:], (blocks, taps), (filters.stride * padded.itemsize, padded.itemsize))
        step = max(1, _ONE_THREAD // weights.size)
        for row in range(0, blocks, step):
            np.matmul(rows[row : row + step], weights, out=out[row : row + step, column : column + outputs])
        column += outputs
    return out.reshape(-1)[start - first_block * filters.outputs :][: stop - start]


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """(samples,) float32 at one rate to another, Hz."""
    if from_rate == to_rate or len(samples) == 0:
        return samples
    length = resampled_length(len(samples), from_rate, to_rate)
    return _resample_part(samples, 0, 0, length, _filters(from_rate, to_rate))


class Resampled:
    """A source of samples, seen at another rate. It reads little more than the part asked for.

    Args:
        source: with `rate`, `frames` and `read(start, stop)`: an `AudioFile`, for instance.
        rate: the wanted rate, Hz.
    """

    def __init__(self, source, rate: int):
        self.source = source
        self.rate = rate
        self.length = resampled_length(source.frames, source.rate, rate)

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start,) float32; 0 <= start <= stop <= length."""
        if self.source.rate == self.rate:
            return self.source.read(start, stop)
        filters = _filters(self.source.rate, self.rate)
        begin = max(0, start * self.source.rate // self.rate - filters.reach)
        end = min(self.source.frames, stop * self.source.rate // self.rate + filters.reach + 1)
        return _resample_part(self.source.read(begin, end), begin, start, stop, filters)

    def windows(self, size: int) -> Iterator[np.ndarray]:
        """Windows of `size` samples side by side. The last one ends where the signal ends. A shorter one
        comes whole.

        One window is read at a time.
        """
        last = max(0, self.length - size)
        for start in [*range(0, last, size), last]:
            yield self.read(start, min(start + size, self.length))
