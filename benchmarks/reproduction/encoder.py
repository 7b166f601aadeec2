"""A public encoder of sounds that gives `pretrain.py` its targets: aisfx, from the wheel of that name.

Ma and Lerch 2022, Representation Learning for the Automatic Indexing of Sound Effects Libraries, ISMIR: four blocks of
convolutions, trained to recognise the categories of professional sound-effect libraries. The code is MIT, the weights
CC BY 4.0. Its pinned dependencies are old, and none is needed: `pip install --no-deps aisfx`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank


_N_FFT, _HOP, _MELS, _BLOCK = 2048, 1024, 96, 100
_HIGHEST = 9.457798957824707  # the maximum of its training spectrograms; inputs are divided by it
# The file also holds numpy numbers. These classes only carry data; they run nothing.
_NUMPY = [(np._core.multiarray.scalar, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype("int64"))]


class Encoder(nn.Module):
    """Waveforms to unit vectors. The level does not matter.

    Args:
        blocks: (blocks, 100 frames, 96 mel bins) -> (blocks, 512).
    """

    sampling_rate, dim = 44100, 512

    def __init__(self, blocks: nn.Module):
        super().__init__()
        self.blocks = blocks
        mels = mel_filter_bank(
            _N_FFT // 2 + 1,
            _MELS,
            0.0,
            self.sampling_rate / 2,
            self.sampling_rate,
            mel_scale="htk",
            triangularize_in_mel_space=True,
        )
        self.register_buffer("mel_filters", torch.from_numpy(mels / mels.sum(axis=0)).float())
        self.register_buffer("window", torch.hann_window(_N_FFT))

    @torch.inference_mode()
    def forward(self, waveforms: Tensor) -> Tensor:
        """(clips, samples) -> (clips, 512): the mean over about as many blocks of 2.3 s as fit into a clip."""
        spectrograms = self.spectrograms(waveforms)
        clips, frames = spectrograms.shape[:2]
        spectrograms = F.pad(spectrograms, (0, 0, 0, max(0, _BLOCK - frames)))
        starts = torch.linspace(0, max(0, frames - _BLOCK), max(1, round(frames / _BLOCK))).long()
        blocks = torch.stack([spectrograms[:, start : start + _BLOCK] for start in starts], dim=1)
        embeds = self.blocks(blocks.flatten(0, 1)).view(clips, len(starts), -1).mean(dim=1)
        return F.normalize(embeds, dim=-1)

    def spectrograms(self, waveforms: Tensor) -> Tensor:
        """(clips, samples) -> (clips, frames, 96), for waveforms with a peak of 1."""
        waveforms = waveforms / waveforms.abs().amax(dim=1, keepdim=True).clamp(min=1e-8)
        spectrum = torch.stft(waveforms, _N_FFT, _HOP, window=self.window, pad_mode="constant", return_complex=True)
        mels = spectrum.abs().square().transpose(1, 2) @ self.mel_filters
        return torch.log10(1 + 10_000 * mels) / _HIGHEST


def load_encoder() -> Encoder:
    """Loads the published weights. No pickled code is run.

    Raises:
        SystemExit: the wheel is missing.
    """
    spec = find_spec("aisfx")
    if spec is None:
        sys.exit("missing package: pip install --no-deps aisfx")
    from aisfx.models.cnn2d import EmbeddingNet

    with torch.serialization.safe_globals(_NUMPY):
        file = Path(spec.origin).parent / "models" / "checkpoint.pth"
        weights, _ = torch.load(file, map_location="cpu", weights_only=True)
    blocks, prefix = EmbeddingNet("max", 3, 1, 64), "embedding_net."
    blocks.load_state_dict({key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)})
    return Encoder(blocks.to(memory_format=torch.channels_last)).eval()  # a quarter faster on a CPU


__all__ = ["Encoder", "load_encoder"]
