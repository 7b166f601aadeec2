"""Augmentations of the student's clips: mixing clips, and masking parts of the spectrogram. All are off by default.

The collator changes the level (`--random_gain_db`), so that teacher and student hear the same.
"""

import torch
from torch import Tensor

from ..errors import InputError


_MASKS = 2  # of each kind per clip, as in PANNs' training


def mixed(waveforms: Tensor, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Mixes every clip with another one of the batch.

    Args:
        waveforms: (B, samples).
        alpha: parameter of Beta(α, α), from which the batch's share is drawn.

    Returns:
        (B, samples), and for the objective `partner` (B,) int64, the clip that each row was mixed with, and
            `own_share` (B,), the share of the row's own clip, at least a half.

    Source: Zhang et al. 2018, arXiv 1710.09412.
    """
    share = torch.distributions.Beta(alpha, alpha).sample()
    own_share = torch.maximum(share, 1 - share).to(waveforms.device)
    partner = torch.arange(len(waveforms), device=waveforms.device).roll(1)
    mixture = own_share * waveforms + (1 - own_share) * waveforms[partner]
    return mixture, {"partner": partner, "own_share": own_share.expand(len(waveforms))}


def masked(spectrograms: Tensor, most_frames: int, most_bins: int) -> Tensor:
    """SpecAugment: two stripes of frames and two of bins of each clip are set to the clip's mean.

    Args:
        spectrograms: (B, frames, bins) decibels.
        most_frames: the largest width of a stripe of frames, 0 for none.
        most_bins: the same for bins.

    Raises:
        InputError: torchaudio is missing, or can't be loaded with this torch.

    Source: Park et al. 2019, arXiv 1904.08779; without its time warping.
    """
    try:
        # torchaudio breaks with a torch built for another CUDA. Only users who ask for masks need it.
        from torchaudio.functional import mask_along_axis_iid
    except (ImportError, OSError) as error:
        raise InputError(f"--time_mask and --frequency_mask need torchaudio: {str(error).splitlines()[0]}") from error
    mean = spectrograms.mean(dim=(1, 2), keepdim=True)
    images = (spectrograms - mean).unsqueeze(1)
    for axis, widest in ((2, most_frames), (3, most_bins)):
        for _ in range(_MASKS if widest else 0):
            images = mask_along_axis_iid(images, widest, 0.0, axis)
    return images.squeeze(1) + mean
