"""transformers' own CLAP as a teacher: the same calls as our model, whatever rate and windows it was made for."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPooling


class WindowedClapFeatureExtractor(ClapFeatureExtractor):
    """Cuts clips into windows of `max_length_s` seconds, the last one ending where the clip ends.

    Left to itself, the extractor takes a random window of a longer clip: another embedding each time.
    """

    @property
    def window_samples(self) -> int:
        """Samples in one window."""
        return int(self.nb_max_samples)

    def windows(self, waveform: np.ndarray) -> np.ndarray:
        """(samples,) -> (windows, channels, frames, mel bins), float32."""
        size = self.window_samples
        starts = [*range(0, len(waveform) - size, size), max(0, len(waveform) - size)]
        parts = [waveform[start : start + size] for start in starts]
        features = [self(part, sampling_rate=self.sampling_rate, return_tensors="np") for part in parts]
        return np.concatenate([f["input_features"] for f in features]).astype(np.float32)


class TeacherClapModel(ClapModel):
    """A `ClapModel` for windows: none of its inputs is ever longer than a window."""

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of what `logits_per_audio` multiplies cosines by, as our model calls it."""
        return self.logit_scale_a

    def get_audio_features(self, input_features: Tensor, **kwargs) -> BaseModelOutputWithPooling:
        is_longer = torch.zeros(len(input_features), 1, dtype=torch.bool, device=input_features.device)
        return super().get_audio_features(input_features.to(self.dtype), is_longer=is_longer)


@dataclass(frozen=True)
class TeacherClapProcessor:
    """What a `TeacherClapModel` needs."""

    feature_extractor: WindowedClapFeatureExtractor
    tokenizer: PreTrainedTokenizerBase


def load_clap_processor(name: str, revision: str | None = None) -> TeacherClapProcessor:
    """The feature extractor and the tokenizer of a `ClapModel` checkpoint: a folder or a Hub id."""
    return TeacherClapProcessor(
        WindowedClapFeatureExtractor.from_pretrained(name, revision=revision),
        AutoTokenizer.from_pretrained(name, revision=revision),
    )


__all__ = ["TeacherClapModel", "TeacherClapProcessor", "WindowedClapFeatureExtractor", "load_clap_processor"]
