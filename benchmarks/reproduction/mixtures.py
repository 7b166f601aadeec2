"""The data that an audio tower is pretrained on: mixtures of clips and the encoder's output for them, in a folder.

A mixture is a random crop of a clip, or the sum of two. It depends only on a seed and its number. Its target is the
encoder's output for this exact mixture. Both are computed once. A training reads them repeatedly, at another level
each time.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from modeling_clap_student.data.benchmarks import task_clips
from modeling_clap_student.data.decoding import decode_crop
from modeling_clap_student.data.leakage import LeakageFilter
from modeling_clap_student.data.pools import read_pools
from modeling_clap_student.data.sources import ExclusionLog, report_exclusions
from modeling_clap_student.errors import ClipError, InputError
from modeling_clap_student.feature_extraction_clap_student import ClapStudentFeatureExtractor
from modeling_clap_student.soundscapes.corpus import is_soundscape


SECONDS = 5.0
HEARD = ["folder={data}/captioned_sfx", "folder={data}/wild", "urbansound8k:1={data}/urbansound8k"]
HEARD += ["esc50:1,2={data}/esc50_16k", "esc50:1,2={data}/esc50_extra", "esc50:1,2={data}/esc10"]
SYNTHETIC = ["soundscapes:train", "soundscapes:pool"]
# These clips and others of their recordings are not heard. ESC-10 also has folds for later checks.
EVALUATION = ["esc50:3={data}/esc50_16k", "esc50:3={data}/esc50_extra", "esc50:3,4,5={data}/esc10"]
EVALUATION += ["urbansound8k:2={data}/urbansound8k"]

_CHUNK, _BATCH = 256, 16  # mixtures per file; mixtures per batch of the encoder
_SYNTHETIC_SHARE, _MIXED_SHARE = 0.2, 0.5
_QUIETER = 15.0  # dB; the second clip of a mixture is at most this much quieter
_SILENCE = 1e-4  # root mean square; a quieter crop is silent
_TRIES = 20


def read_heard(data: str) -> Dataset:
    """The clips that may be heard, `audio` and `audio_id`, synthetic ones last. No label and no text is read."""
    exclusions = ExclusionLog()
    leakage = LeakageFilter(task_clips(spec.format(data=data) for spec in EVALUATION))
    clips = read_pools([*(spec.format(data=data) for spec in HEARD), *SYNTHETIC], exclusions, leakage)
    report_exclusions(exclusions)
    return clips


class Mixtures:
    """Mixtures 0 to `count` - 1 of some clips.

    Args:
        folder: keeps the mixtures. It must hold mixtures of these clips and this seed, or nothing.
        clips: with `audio` and `audio_id`.

    Raises:
        InputError: the folder holds mixtures of something else.
    """

    def __init__(self, folder: Path, clips: Dataset, seed: int, count: int, sampling_rate: int, hop_length: int):
        self.folder, self.clips, self.seed, self.count = folder, clips, seed, count
        self.sampling_rate, self.size = sampling_rate, round(SECONDS * sampling_rate)
        self._files: dict[int, list[np.ndarray]] = {}
        synthetic = [is_soundscape(audio["path"] or "") for audio in clips["audio"]]
        self.real, self.synthetic = np.flatnonzero(~np.array(synthetic)), np.flatnonzero(synthetic)
        names = hashlib.blake2b("\n".join(clips["audio_id"]).encode(), digest_size=8).hexdigest()
        self._about = {"clips": names, "seed": seed, "sampling_rate": sampling_rate, "hop_length": hop_length}
        self._record = folder / "mixtures.json"
        if self._record.exists() and json.loads(self._record.read_text(encoding="utf-8")) != self._about:
            raise InputError(f"{folder} holds mixtures of other clips or another seed: give another --output_dir")

    @property
    def num_chunks(self) -> int:
        return -(-self.count // _CHUNK)

    def missing(self) -> list[int]:
        """The numbers of the files that are not made yet."""
        return [chunk for chunk in range(self.num_chunks) if not self._path(chunk, "targets").exists()]

    def make(self, encoder: Callable[[Tensor], Tensor], front_end: Callable[[Tensor], Tensor]) -> None:
        """Computes what is missing: (mixtures, frames, mel bins) float16 decibels, and (mixtures, dim) float32."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps(self._about), encoding="utf-8")
        missing, start = self.missing(), time.perf_counter()
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for done, chunk in enumerate(missing, 1):
                features, targets = [], []
                for first in range(chunk * _CHUNK, (chunk + 1) * _CHUNK, _BATCH):
                    waveforms = torch.from_numpy(
                        np.stack(list(threads.map(self.waveform, range(first, first + _BATCH))))
                    )
                    features.append(front_end(waveforms).half().numpy())
                    targets.append(encoder(waveforms).float().numpy())
                self._write(chunk, "features", np.concatenate(features))
                self._write(chunk, "targets", np.concatenate(targets))
                rate = done * _CHUNK / (time.perf_counter() - start)
                left = (len(missing) - done) * _CHUNK / rate / 60
                print(f"mixtures: {done}/{len(missing)} files, {rate:.1f} per second, {left:.0f} min left", flush=True)

    def waveform(self, number: int) -> np.ndarray:
        """(samples,) float32 with a peak of 1."""
        rng = np.random.default_rng([self.seed, number])
        mixture = self._crop(rng)
        if rng.random() < _MIXED_SHARE:
            mixture = mixture + 10 ** (-rng.uniform(0, _QUIETER) / 20) * self._crop(rng)
        return (mixture / np.abs(mixture).max()).astype(np.float32)

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        """A crop that is not silent, with root mean square 1. A short clip is padded with zeros, or repeated."""
        for _ in range(_TRIES):
            rows = self.synthetic if rng.random() < _SYNTHETIC_SHARE or not len(self.real) else self.real
            row, draw, fill = rng.choice(rows), int(rng.integers(2**32)), _FILLS[rng.integers(len(_FILLS))]
            try:
                crop = decode_crop(self.clips[int(row)]["audio"], self.sampling_rate, self.size, draw, fill)
            except ClipError:
                continue
            level = float(np.sqrt(np.mean(np.square(crop, dtype=np.float64))))
            if level > _SILENCE:
                return crop / level
        raise InputError(f"{_TRIES} clips one after the other are silent, or can't be read")

    def read(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features and targets of some mixtures, float32."""
        places = [(self._open(number // _CHUNK), number % _CHUNK) for number in numbers.tolist()]
        features, targets = (np.stack([files[part][place] for files, place in places]) for part in (0, 1))
        return torch.from_numpy(features).float(), torch.from_numpy(targets)

    def mean_target(self) -> Tensor:
        """(dim,) the mean of all mixtures' targets."""
        means = [self._open(chunk)[1].mean(axis=0, dtype=np.float64) for chunk in range(self.num_chunks)]
        return torch.from_numpy(np.mean(means, axis=0)).float()

    def _open(self, chunk: int) -> list[np.ndarray]:
        if chunk not in self._files:
            self._files[chunk] = [np.load(self._path(chunk, part), mmap_mode="r") for part in ("features", "targets")]
        return self._files[chunk]

    def _path(self, chunk: int, part: str) -> Path:
        return self.folder / f"{part}-{chunk:05d}.npy"

    def _write(self, chunk: int, part: str, values: np.ndarray) -> None:
        """Writes completely or not at all."""
        partial = self.folder / f".partial-{os.getpid()}.npy"
        np.save(partial, values)
        partial.replace(self._path(chunk, part))


def _repeat(waveform: np.ndarray, size: int, place: int) -> np.ndarray:
    """Repeats a clip, as the feature extractor does when a model embeds."""
    return np.resize(waveform, size)


_FILLS = (ClapStudentFeatureExtractor.fill_window, _repeat)


__all__ = ["Mixtures", "read_heard"]
