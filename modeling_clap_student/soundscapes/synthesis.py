"""Building blocks of synthetic sound: random parameters, oscillators, noise, envelopes; all (samples,) float32."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


SAMPLING_RATE = 44100
# Durations are multiples of this many samples (1/30 s), for which FFTs are fast.
GRAIN = 1470
TWO_PI = np.float32(2 * np.pi)


@dataclass
class Draw:
    """Random parameters of one event."""

    rng: np.random.Generator  # the clip's own
    extent: tuple[float, float] = (0.0, 1.0)  # the part of each parameter's range that is used

    def __call__(self, low: float, high: float) -> float:
        """Uniform on the part of [low, high] that the extent allows."""
        return low + (high - low) * self.rng.uniform(*self.extent)

    def log(self, low: float, high: float) -> float:
        """The same on a logarithmic scale, for frequencies and rates."""
        return float(low * (high / low) ** self.rng.uniform(*self.extent))

    def any(self, low: float, high: float) -> float:
        """Uniform on all of [low, high], whatever the extent: for parameters that do not distinguish recordings."""
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def samples(self, shortest: float, longest: float) -> int:
        """A duration in samples, from seconds."""
        return GRAIN * max(1, round(self.any(shortest, longest) * SAMPLING_RATE / GRAIN))

    def noise(self, n: int) -> np.ndarray:
        return self.rng.random(n, dtype=np.float32) - np.float32(0.5)


def seconds(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32) / np.float32(SAMPLING_RATE)


def phase(frequency, n: int) -> np.ndarray:
    """The running phase, in turns within [0, 1), for a constant or changing frequency in Hz."""
    if np.ndim(frequency) == 0:
        turns = np.arange(n) * (frequency / SAMPLING_RATE)
    else:
        turns = np.cumsum(frequency, dtype=np.float64) / SAMPLING_RATE
    return (turns - np.floor(turns)).astype(np.float32)


def tone(frequency, n: int) -> np.ndarray:
    return np.sin(TWO_PI * phase(frequency, n))


def harmonics(frequency, n: int, count: int, tilt: float) -> np.ndarray:
    """A buzz: `count` harmonics that fall as k**-tilt, computed with the recurrence of sin(kθ)."""
    angle = TWO_PI * phase(frequency, n)
    twice_cos, previous, current = 2 * np.cos(angle), np.zeros(n, np.float32), np.sin(angle)
    total = current.copy()
    for k in range(2, count + 1):
        previous, current = current, twice_cos * current - previous
        total += np.float32(k**-tilt) * current
    return total


def _pass_gain(n: int, low: float, high: float, steep: bool) -> np.ndarray:
    frequency = np.arange(n // 2 + 1, dtype=np.float32) * np.float32(SAMPLING_RATE / n)
    frequency[0] = np.float32(SAMPLING_RATE / n / 4)
    below, above = np.square(np.float32(low) / frequency), np.square(frequency / np.float32(high))
    if steep:
        below, above = np.square(below), np.square(above)
    return 1 / ((1 + below) * (1 + above))


def band(signal: np.ndarray, low: float, high: float, steep: bool = True) -> np.ndarray:
    """Keeps low…high Hz, with slopes of 24 dB per octave, or 12 if not `steep`."""
    return np.fft.irfft(np.fft.rfft(signal) * _pass_gain(len(signal), low, high, steep), len(signal))


def hiss(d: Draw, n: int, low: float, high: float, steep: bool = True) -> np.ndarray:
    """Noise between low and high Hz: `band` of white noise, with its spectrum drawn directly."""
    spectrum = (d.rng.random(2 * (n // 2 + 1), dtype=np.float32) - np.float32(0.5)).view(np.complex64)
    return np.fft.irfft(spectrum * _pass_gain(n, low, high, steep), n) * np.float32(np.sqrt(n / 2))


def decay(n: int, time: float, attack: float = 0.002) -> np.ndarray:
    """An envelope that rises in `attack` and falls by e in `time` seconds."""
    t = seconds(n)
    return np.minimum(t / np.float32(attack), 1) * np.exp(-t / np.float32(time))


def arch(n: int, sharpness: float = 1.0) -> np.ndarray:
    """An envelope that swells and fades."""
    return np.sin(np.linspace(0, np.pi, n, dtype=np.float32)).clip(0) ** np.float32(sharpness)


def wobble(d: Draw, n: int, rate: float) -> np.ndarray:
    """A slow random curve within [0, 1] with about `rate` bends per second."""
    knots = max(3, int(n / SAMPLING_RATE * rate) + 2)
    return np.interp(np.linspace(0, knots - 1, n), np.arange(knots), d.rng.random(knots)).astype(np.float32)


def repeat(d: Draw, n: int, make: Callable[[], np.ndarray], gap: float, jitter: float = 0.1) -> np.ndarray:
    """Plays `make()` repeatedly within n samples, `gap` seconds apart, varied by `jitter`."""
    out = np.zeros(n, np.float32)
    start = 0
    while start < n:
        piece = make()[: n - start]
        out[start : start + len(piece)] += piece * np.float32(d.any(0.7, 1))
        start += max(1, int(gap * SAMPLING_RATE * d.any(1 - jitter, 1 + jitter)))
    return out


def impulses(d: Draw, n: int, density: float) -> np.ndarray:
    """Random clicks of random size, `density` per second."""
    out = np.zeros(n, np.float32)
    number = max(1, int(n / SAMPLING_RATE * density))
    out[d.rng.integers(0, n, number)] = d.rng.random(number, dtype=np.float32) ** 3 * np.sign(d.noise(number))
    return out


def strike(d: Draw, n: int, partials: list[float], time: float) -> np.ndarray:
    """Struck metal or glass: decaying partials in Hz; higher ones are shorter."""
    out = np.zeros(n, np.float32)
    for frequency in partials:
        out += tone(frequency, n) * decay(n, time * (partials[0] / frequency) ** 0.7) * np.float32(d.any(0.4, 1))
    return out


def voice(f0: np.ndarray, n: int, formants: tuple[float, float], count: int = 14) -> np.ndarray:
    """A throat: a buzz through two resonances."""
    buzz = harmonics(f0, n, count, 0.6)
    return band(buzz, formants[0] * 0.7, formants[0] * 1.3) + 0.6 * band(buzz, formants[1] * 0.8, formants[1] * 1.2)
