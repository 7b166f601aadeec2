"""Measures a clip's fingerprint and quality while it is decoded for another purpose, so they need no reading."""

from dataclasses import dataclass

import numpy as np

from ..resampling_clap_student import Resampled
from .fingerprints import HOP, MARGIN, RATE, WINDOW, Fingerprint, band_powers, make_fingerprint
from .quality import Quality, QualityMeter


_BLOCK_SECONDS, _BLOCKS = 10, 360  # of a fingerprint: one hour; the rest is not compared
_SLACK_SECONDS = 0.05  # more than the reach of any resampling filter


@dataclass(frozen=True)
class Sound:
    """The fingerprint and quality of one clip."""

    fingerprint: Fingerprint
    quality: Quality


class Listener:
    """A source of samples that measures what is read from it, from the first sample on. Parts may be read twice.

    Args:
        source: with `rate`, `frames`, `read(start, stop)` and `check_end()`, as an `AudioFile`.
    """

    def __init__(self, source):
        self._source = source
        self.rate, self.frames = source.rate, source.frames
        self._kept, self._kept_from = np.empty(0, np.float32), 0  # the samples that the next block needs
        self._block = 0
        self._meter, self._powers = QualityMeter(self.rate), []
        self._low = Resampled(_Kept(self), RATE)

    def read(self, start: int, stop: int) -> np.ndarray:
        samples = self._source.read(start, stop)
        heard = self._kept_from + len(self._kept)
        if start <= heard < stop:
            self._kept = np.concatenate([self._kept, samples[heard - start :]])
            self._hear_blocks()
        return samples

    def check_end(self) -> None:
        self._source.check_end()

    def sound(self) -> Sound | None:
        """None if the clip was not read to its end."""
        if self._kept_from + len(self._kept) < self.frames:
            return None
        powers = np.concatenate(self._powers) if self._powers else np.empty((0, 0), np.float32)
        return Sound(make_fingerprint(powers), self._meter.result())

    def _hear_blocks(self) -> None:
        """Processes each block as soon as all of it was read, and a little after it."""
        size = _BLOCK_SECONDS * self.rate
        slack = int((_SLACK_SECONDS + WINDOW / RATE) * self.rate)
        while self._block * size < self.frames:
            begin, end = self._block * size, min((self._block + 1) * size, self.frames)
            if self._kept_from + len(self._kept) < min(end + slack, self.frames):
                return
            self._meter.hear(self._kept[begin - self._kept_from : end - self._kept_from])
            if self._block < _BLOCKS:
                self._powers.append(self._powers_of(self._block, end == self.frames))
            self._block += 1
            keep_from = max(self._kept_from, end - slack) if end < self.frames else self.frames
            self._kept, self._kept_from = self._kept[keep_from - self._kept_from :].copy(), keep_from

    def _powers_of(self, block: int, is_last: bool) -> np.ndarray:
        """The frames that begin in a block, of the clip between its margins."""
        frames = _BLOCK_SECONDS * RATE // HOP
        begin = block * frames * HOP - MARGIN
        end = self._low.length + MARGIN if is_last else begin + (frames - 1) * HOP + WINDOW
        samples = self._low.read(max(0, begin), min(end, self._low.length))
        return band_powers(np.pad(samples, (max(0, -begin), max(0, end - self._low.length))))


class _Kept:
    """The samples that a listener keeps, as a source."""

    def __init__(self, listener: Listener):
        self.rate, self.frames, self._listener = listener.rate, listener.frames, listener

    def read(self, start: int, stop: int) -> np.ndarray:
        kept, kept_from = self._listener._kept, self._listener._kept_from
        return kept[start - kept_from : stop - kept_from]


def listen(source) -> Sound:
    """Reads a source to its end."""
    listener, step = Listener(source), _BLOCK_SECONDS * source.rate
    for start in range(0, source.frames, step):
        listener.read(start, min(start + step, source.frames))
    return listener.sound()
