"""Resampling: torchaudio's numbers, and parts that equal the whole."""

import numpy as np
import pytest
import torch
import torchaudio

from modeling_clap_student.resampling_clap_student import Resampled, _filters, resample, resampled_length


RATES = [(48000, 44100), (22050, 44100), (16000, 44100), (96000, 44100), (44100, 48000), (44100, 16000), (8000, 44100)]


class Source:
    """Samples in memory that note what was read."""

    def __init__(self, samples: np.ndarray, rate: int):
        self.samples, self.rate, self.frames = samples, rate, len(samples)
        self.reads = []

    def read(self, start, stop):
        assert 0 <= start <= stop <= self.frames
        self.reads.append((start, stop))
        return self.samples[start:stop]


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(size).uniform(-1, 1, size).astype(np.float32)


@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("size", [1, 7, 999, 20000])
def test_results_are_those_of_torchaudio(old, new, size):
    """Guards against another filter than the one that CLAP's published numbers were made with."""
    samples = noise(size)
    expected = torchaudio.transforms.Resample(old, new)(torch.from_numpy(samples)).numpy()
    got = resample(samples, old, new)
    assert got.dtype == np.float32 and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), RATES)
def test_parts_equal_the_whole(old, new):
    """Guards against crops that begin with silence or end in it where the clip goes on, or lie a sample aside."""
    source = Source(noise(3001), old)
    whole = resample(source.samples, old, new)
    part = Resampled(source, new)
    assert part.length == len(whole) == resampled_length(3001, old, new)
    starts = [0, 1, 2, part.length // 2, part.length - 301, part.length - 300]
    for start in [*starts, *np.random.default_rng(0).integers(0, part.length - 300, 40).tolist()]:
        np.testing.assert_allclose(part.read(start, start + 300), whole[start : start + 300], atol=1e-6)


def test_only_what_is_heard_is_read():
    """Guards against a crop that reads its whole file."""
    source = Source(noise(48000), 48000)
    Resampled(source, 44100).read(22050, 22050 + 441)
    ((start, stop),) = source.reads
    assert 24000 - 20 <= start <= 24000 - 7 and 24480 + 7 <= stop <= 24480 + 20


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("size", [100, 1000, 1999, 2000, 2001, 5000])
def test_windows_are_those_of_the_whole(rate, size):
    """Guards against a last window that begins where the one before ends, and short clips that are lost."""
    source = Source(noise(size * rate // 44100), rate)
    whole = resample(source.samples, rate, 44100)
    windows = list(Resampled(source, 44100).windows(1000))
    last = max(0, len(whole) - 1000)
    starts = [*range(0, last, 1000), last]
    assert len(windows) == len(starts)
    for window, start in zip(windows, starts, strict=True):
        np.testing.assert_allclose(window, whole[start : start + 1000], atol=1e-6)


@pytest.mark.parametrize("rate", [44101, 11127, 1009, 499_979])
def test_odd_rates_need_little_memory(rate):
    """Guards against filters of gigabytes where two rates have no common divisor: one such header ends a run."""
    time = np.arange(rate // 2) / rate
    got = resample(np.sin(2 * np.pi * 200 * time).astype(np.float32), rate, 44100)
    expected = np.sin(2 * np.pi * 200 * np.arange(len(got)) / 44100)
    np.testing.assert_allclose(got[4000:-4000], expected[4000:-4000], atol=5e-3)
    assert sum(weights.size for _, weights in _filters(rate, 44100).groups) < 25e6


def test_lengths_of_long_clips_are_exact():
    """Guards against lengths in float32, which are even numbers beyond six minutes."""
    assert resampled_length(48000 * 3600 * 5 + 1, 48000, 44100) == 44100 * 3600 * 5 + 1
