"""How fast random 5-s crops at 44.1 kHz are read, in clips per second on one core.

    python benchmarks/decoding.py [--rounds 7]

The alternatives read the whole file and cut the crop out: with soundfile and torchaudio's resampler with kept filters
(`torchaudio.load` itself needs torchcodec and FFmpeg), and with librosa if it is installed. Median of the rounds. In
each round the readers take turns on the same places. Files are made in a temporary folder.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from modeling_clap_student.data.decoding import crop_start, decode_crop


RATE, SECONDS = 44100, 5
SIZE = RATE * SECONDS
FORMATS, RATES, LENGTHS = ("wav", "flac", "ogg", "mp3"), (16000, 44100, 48000), (10, 300)


def write(path: Path, seconds: int, rate: int) -> None:
    """Noise under a slow swell, second by second. libsndfile's Vorbis encoder overflows its stack on long blocks."""
    rng = np.random.default_rng(seconds)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for second in range(seconds):
            file.write(0.1 * (1 + np.sin(second)) * rng.normal(size=rate))


@lru_cache
def resampler(rate: int) -> torchaudio.transforms.Resample:
    return torchaudio.transforms.Resample(rate, RATE)


def ours(path: Path, draw: int) -> np.ndarray:
    return decode_crop({"path": str(path), "bytes": None}, RATE, SIZE, draw)


def whole_file(path: Path, draw: int) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    waveform = resampler(rate)(torch.from_numpy(samples.mean(axis=1))).numpy()
    start = crop_start(len(waveform), SIZE, draw)
    return waveform[start : start + SIZE]


def with_librosa(path: Path, draw: int) -> np.ndarray:
    import librosa

    waveform, _ = librosa.load(path, sr=RATE)
    start = crop_start(len(waveform), SIZE, draw)
    return waveform[start : start + SIZE]


def rates(path: Path, seconds: int, readers: list, rounds: int) -> list[float]:
    """Clips per second for each reader."""
    rng = np.random.default_rng(0)
    times = {reader: [] for reader in readers}
    for _ in range(rounds):
        draws = rng.integers(2**32, size=20 if seconds < 60 else 2).tolist()
        for reader in readers:
            start = time.perf_counter()
            for draw in draws:
                assert len(reader(path, draw)) == SIZE
            times[reader].append((time.perf_counter() - start) / len(draws))
    return [1 / statistics.median(times[reader]) for reader in readers]


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    readers = [ours, whole_file, *([with_librosa] if find_spec("librosa") else [])]
    names = ["ours", "whole file", "librosa"][: len(readers)]
    print(f"{processor_name()}, {os.cpu_count()} cores, one used; clips per second, median of {rounds} rounds\n")
    print("| format | rate | length | " + " | ".join(names) + " | " + " | ".join(f"× {n}" for n in names[1:]) + " |")
    print("|---" * (2 + 2 * len(names)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for seconds in LENGTHS:
            for suffix in FORMATS:
                for rate in RATES:
                    path = Path(folder) / f"{rate}.{suffix}"
                    write(path, seconds, rate)
                    first, *others = rates(path, seconds, readers, rounds)
                    cells = [f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in (first, *others)]
                    cells += [f"{first / other:.1f}" for other in others]
                    length = f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"
                    print(f"| {suffix} | {rate / 1000:g} kHz | {length} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
