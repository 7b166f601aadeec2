"""A folder of log-mel spectrograms of whole clips. Each clip is decoded and analysed once; then crops are read."""

import copy
import json
import os
import uuid
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..resampling_clap_student import Resampled
from ..utils.outputs import make_folder
from .decoding import crop_start, open_clip
from .identity import clip_keys, key_of


_FRAMES_AT_ONCE = 4096  # a minute or less


class SpectrogramCache:
    """Crops of clips' spectrograms. A spectrogram is made when it is first asked for.

    A crop begins at a whole frame. It equals the front end's output for the same part of the waveform, except for the
    frames at its ends whose windows reach beyond it. Those hear the rest of the clip, where the front end would mirror
    the crop. Each clip is a file of 4 bytes per mel bin and frame: 35 kB a second at CLAP's 44.1 kHz and hop of 320.
    The files are in a folder whose name depends on the front end.

    Args:
        front_end: the model's: (batch, samples) -> (batch, frames, mel bins) decibels, with its `config`.
        sampling_rate: rate of its waveforms, Hz.
    """

    def __init__(self, folder: str | Path, front_end: torch.nn.Module, sampling_rate: int):
        config = front_end.config
        self.front_end = copy.deepcopy(front_end).cpu()  # called by threads and workers
        self.sampling_rate, self.hop_length = sampling_rate, config.hop_length
        # Frames beside a clip whose windows reach into it; and frames beside any part whose windows reach beyond it.
        self.margin = -(-config.n_fft // (2 * config.hop_length))
        # The front end's output for zeros, dB.
        self.silence = float(self._analyse(np.zeros(2 * config.n_fft, np.float32))[0, 0])
        weights = [tensor.float().numpy().tobytes() for tensor in (self.front_end.window, self.front_end.mel_filters)]
        name = key_of(*weights, json.dumps([sampling_rate, config.hop_length, config.n_fft])).hex()
        self.folder = Path(folder) / name
        make_folder(self.folder)

    def num_frames(self, samples: int) -> int:
        return samples // self.hop_length + 1

    def crop(self, row: dict, size: int, draw: int) -> np.ndarray:
        """(frames, mel bins) float32 decibels of `size` samples of a clip, like `decode_crop` for the waveform.

        `draw` is a large random number that chooses the place. A clip shorter than the crop is placed somewhere in
        silence.
        """
        stored = self._spectrogram(row)
        frames, length = self.num_frames(size), len(stored) - 2 * self.margin
        place = crop_start(length, frames, draw)
        begin = place if length >= frames else -place  # where the crop begins, counted from the clip's first frame
        first, last = max(begin, -self.margin), min(begin + frames, length + self.margin)
        crop = np.full((frames, stored.shape[1]), self.silence, np.float32)
        crop[first - begin : last - begin] = stored[first + self.margin : last + self.margin]
        return crop

    def _spectrogram(self, row: dict) -> np.ndarray:
        """(frames, mel bins): a clip's spectrogram, with `margin` frames before and after it."""
        name = clip_keys([row])[0].hex()
        path = self.folder / name[:2] / f"{name}.npy"
        if not path.exists():
            with open_clip(row["audio"], self.sampling_rate) as clip:
                self._write(path, clip)
        return np.load(path, mmap_mode="r")

    def _write(self, path: Path, clip: Resampled) -> None:
        """Writes under a temporary name first: threads and processes may make the same file."""
        make_folder(path.parent)
        partial = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.partial")
        first, last = -self.margin, self.num_frames(clip.length) + self.margin
        try:
            with open(partial, "wb") as file:
                header = {"descr": "<f4", "fortran_order": False}
                header["shape"] = (last - first, self.front_end.config.num_mel_bins)
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(first, last, _FRAMES_AT_ONCE):
                    file.write(self._frames(clip, start, min(start + _FRAMES_AT_ONCE, last)).tobytes())
            os.replace(partial, path)
        except OSError as error:
            raise InputError(f"can't keep spectrograms in {self.folder}: {error.strerror or error}") from error
        finally:
            partial.unlink(missing_ok=True)

    def _frames(self, clip: Resampled, first: int, last: int) -> np.ndarray:
        """Frames of a clip that is continued by zeros at both ends."""
        begin, end = ((frame * self.hop_length) for frame in (first - self.margin, last - 1 + self.margin))
        samples = clip.read(max(0, begin), min(end, clip.length)) if end > 0 and begin < clip.length else np.zeros(0)
        before = min(max(0, -begin), end - begin)
        padded = np.zeros(end - begin, np.float32)
        padded[before : before + len(samples)] = samples
        return self._analyse(padded)[self.margin : self.margin + last - first]

    @torch.no_grad()
    def _analyse(self, waveform: np.ndarray) -> np.ndarray:
        return self.front_end(torch.from_numpy(waveform)[None])[0].numpy()


def spectrogram_cache(folder: str | None, model) -> SpectrogramCache | None:
    """The cache of a model's spectrograms in a folder; None if no folder is given."""
    return folder and SpectrogramCache(folder, model.front_end, model.processor.feature_extractor.sampling_rate)
