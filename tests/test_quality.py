"""The quality of a recording, in numbers that are known."""

import numpy as np
import pytest

from modeling_clap_student.audio_clap_student import Samples
from modeling_clap_student.data.listening import listen
from modeling_clap_student.data.quality import LIMITS, Quality, as_numbers


RATE = 16000


def quality(samples, rate=RATE):
    return listen(Samples(np.asarray(samples, np.float32), rate)).quality


def noise(seconds, level=0.1):
    return np.random.default_rng(0).normal(0, level, int(seconds * RATE))


def low_passed(samples, frequency):
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE) > frequency] = 0
    return np.fft.irfft(spectrum, len(samples))


@pytest.mark.parametrize("seconds", [0.5, 10, 23.4])
def test_shares_are_those_that_were_put_in(seconds):
    """Guards against blocks that are counted twice, or not at all, and a unit that is another."""
    samples = noise(seconds)
    quarter = len(samples) // 4
    samples[:quarter] = 0.2  # an offset is no sound
    measured = quality(samples)
    assert measured.seconds == pytest.approx(seconds) and measured.silence == pytest.approx(0.25, abs=0.05)
    assert measured.offset == pytest.approx(np.mean(samples, dtype=np.float64), abs=1e-6)
    assert measured.span == pytest.approx(samples.max() - samples.min(), rel=1e-5)
    assert measured.clipping == 0 and measured.bandwidth_hz == pytest.approx(RATE / 2, rel=0.01)


@pytest.mark.parametrize("frequency", [1000, 3400, 6000])
def test_bandwidth_is_that_of_a_filter(frequency):
    """Guards against a bandwidth that the window's side lobes widen."""
    assert quality(low_passed(noise(5), frequency)).bandwidth_hz == pytest.approx(frequency, abs=80)


def test_clipping_counts_runs_alone():
    """Guards against a normalised peak that counts as clipping, and a run at a block's end that is lost."""
    samples = noise(12) * 0.1
    samples[100], samples[200:202] = 1.0, -1.0  # one, and two
    assert quality(samples).clipping == 0
    samples[300:310], samples[-5:] = -1.0, 0.995
    assert quality(samples).clipping == pytest.approx(15 / len(samples))


@pytest.mark.parametrize(
    ("samples", "faults"),
    [
        (noise(5), []),
        (np.zeros(5 * RATE), ["constant"]),
        (np.full(5 * RATE, 0.4), ["constant"]),
        (noise(5, 1e-4), ["silent"]),
        (noise(4), ["short"]),
        (noise(5) + 0.1, ["DC"]),
        (np.clip(noise(5) * 30, -1, 1), ["clipped"]),
        (low_passed(noise(5), 3400), ["narrow"]),
        ([0.5], ["constant", "short"]),
    ],
)
def test_faults(samples, faults):
    """Guards against a fault that no recording has, and a silent clip that is called narrow too."""
    assert quality(samples).faults(5.0) == faults


def test_limits_say_what_is_broken():
    """Guards against limits that are compared the wrong way round."""
    measured = Quality(seconds=2, silence=0.5, clipping=0.01, bandwidth_hz=3000, offset=-0.2, span=1)
    kept = {"min_seconds": 2, "max_silence": 0.5, "max_clipping": 0.01, "min_bandwidth_hz": 3000, "max_offset": 0.2}
    assert set(kept) == set(LIMITS) and measured.broken_limits(kept) == {}
    broken = {name: limit * (1.1 if name.startswith("min_") else 0.9) for name, limit in kept.items()}
    assert set(measured.broken_limits(broken)) == set(LIMITS)
    assert measured.broken_limits({"min_seconds": 5}) == {"min_seconds": "seconds 2 s, --min_seconds 5"}
    assert Quality(*as_numbers(measured).tolist()).offset == pytest.approx(-0.2)
