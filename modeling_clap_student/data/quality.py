"""Measures a recording's quality: length, silence, clipping, bandwidth; with the limits and what is reported."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

import numpy as np


_SILENT = 1e-3  # root mean square of 20 ms: -60 dB
_CLIPPED, _RUN = 0.99, 3  # near full scale, in this many consecutive samples
_BINS = 2048  # samples of a spectrum; there are five spectra per second
_BELOW_PEAK = 1e-7  # -70 dB of the loudest bin: a bin below it holds no recorded sound

# Reported even where no limit is set. A window is the teacher's.
FAULTS = {
    "constant": "all samples equal",
    "silent": "silence for 99 % of the time",
    "clipped": "0.1 % of the samples clipped",
    "narrow": "nothing above 4 kHz",
    "DC": "an offset of 0.02 or more",
    "short": "shorter than a window",
}


@dataclass(frozen=True)
class Quality:
    """The quality of one clip, measured on the mean of its channels.

    Attributes:
        seconds: length.
        silence: share of the time, in pieces of 20 ms, at -60 dB or below; an offset does not count.
        clipping: share of the samples at full scale, three or more in a row.
        bandwidth_hz: the highest frequency whose power is less than 70 dB below the loudest frequency's.
        offset: the mean of the samples.
        span: from the lowest sample to the highest.
    """

    seconds: float
    silence: float
    clipping: float
    bandwidth_hz: float
    offset: float
    span: float

    def faults(self, window_seconds: float) -> list[str]:
        """Which of `FAULTS` it has. A silent clip has no other fault."""
        short = ["short"] if self.seconds < window_seconds - 1e-3 else []
        if self.span == 0 or self.silence >= 0.99:
            return ["constant" if self.span == 0 else "silent", *short]
        tests = {"clipped": self.clipping >= 1e-3, "narrow": self.bandwidth_hz < 4000, "DC": abs(self.offset) >= 0.02}
        return [name for name, is_so in tests.items() if is_so] + short

    def broken_limits(self, limits: Mapping[str, float]) -> dict[str, str]:
        """The limits of `LIMITS` that it breaks -> how, in words."""
        broken = {}
        for name, limit in limits.items():
            value, unit = getattr(self, LIMITS[name]), {"seconds": " s", "bandwidth_hz": " Hz"}.get(LIMITS[name], "")
            value = abs(value)
            if value < limit if name.startswith("min_") else value > limit:
                broken[name] = f"{LIMITS[name].removesuffix('_hz')} {value:.4g}{unit}, --{name} {limit:g}"
        return broken


# The flags, and the quantity that each limits.
LIMITS = {
    "min_seconds": "seconds",
    "max_silence": "silence",
    "max_clipping": "clipping",
    "min_bandwidth_hz": "bandwidth_hz",
    "max_offset": "offset",
}
QUALITY_FIELDS = [field.name for field in fields(Quality)]


class QualityMeter:
    """Measures a clip block by block. Every block but the last has a whole number of 20-ms pieces.

    Args:
        rate: sampling rate, Hz.
    """

    def __init__(self, rate: int):
        self._rate, self._piece = rate, max(1, rate // 50)
        self._count, self._sum, self._clipped, self._silent, self._pieces = 0, 0.0, 0, 0, 0
        self._lowest, self._highest = np.inf, -np.inf
        self._spectrum = np.zeros(_BINS // 2 + 1)
        self._window = np.hanning(_BINS).astype(np.float32)

    def hear(self, samples: np.ndarray) -> None:
        """Takes the next block, (samples,) float32."""
        self._count += len(samples)
        self._sum += float(samples.sum(dtype=np.float64))
        self._lowest = min(self._lowest, float(samples.min()))
        self._highest = max(self._highest, float(samples.max()))
        if max(self._highest, -self._lowest) >= _CLIPPED:
            self._clipped += _in_runs(np.abs(samples) >= _CLIPPED)
        pieces = samples[: len(samples) // self._piece * self._piece].reshape(-1, self._piece)
        self._silent += int((pieces.std(axis=1) <= _SILENT).sum())
        self._pieces += len(pieces)
        if len(samples) < _BINS:
            samples = np.pad(samples, (0, _BINS - len(samples)))
        windows = np.lib.stride_tricks.sliding_window_view(samples, _BINS)[:: max(1, self._rate // 5)]
        spectra = np.fft.rfft((windows - windows.mean(axis=1, keepdims=True)) * self._window, axis=1)
        self._spectrum += (spectra.real**2 + spectra.imag**2).sum(axis=0)

    def result(self) -> Quality:
        """The quality of everything that was heard: at least one sample."""
        heard = np.flatnonzero(self._spectrum > max(self._spectrum.max() * _BELOW_PEAK, 1e-12))
        return Quality(
            seconds=self._count / self._rate,
            silence=self._silent / self._pieces if self._pieces else 0.0,
            clipping=self._clipped / self._count,
            bandwidth_hz=float(heard[-1] * self._rate / _BINS) if len(heard) else 0.0,
            offset=self._sum / self._count,
            span=self._highest - self._lowest,
        )


def _in_runs(mask: np.ndarray) -> int:
    """How many places lie in runs that are long enough."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.view(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= _RUN].sum())


def as_numbers(quality: Quality) -> np.ndarray:
    """(6,) float32, from which `Quality(*numbers)` is made again."""
    return np.array(astuple(quality), np.float32)
