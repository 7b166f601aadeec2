"""transformers' own CLAP, in the form that this package embeds, trains and saves.

Every clip is cut into windows, and its features are the same each time. Without this, transformers' feature extractor
takes a random window of a longer clip. A plain `ClapModel` with a plain `ClapProcessor` is saved.
"""

import copy
import re
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..classification_clap_student import ClassifyingMixin
from ..configuration_clap_student import RecordedConfig
from ..errors import InputError
from ..hub_clap_student import WholeCheckpointMixin


class WindowedClapFeatureExtractor(ClapFeatureExtractor):
    """Cuts clips into windows of `max_length_s` seconds. The last one ends where the clip ends."""

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

    def fill_window(self, waveform: np.ndarray, size: int, place: int) -> np.ndarray:
        """A short clip in a window, laid out as the extractor does it, also in training. `place` is not used."""
        if self.padding == "repeat":
            return np.resize(waveform, size)
        if self.padding == "repeatpad":
            waveform = np.tile(waveform, size // len(waveform))
        return np.pad(waveform, (0, size - len(waveform)))

    @property
    def filters(self) -> np.ndarray:
        """(frequencies, mel bins): the filters of the extractor's own spectrogram."""
        return self.mel_filters if self.truncation == "fusion" else self.mel_filters_slaney


class ClapLogMel(nn.Module):
    """The extractor's spectrogram on any device, in batches. It agrees to 1e-3 dB wherever there is sound.

    Args:
        extractor: defines window, hop and filters.

    Attributes:
        config: `n_fft`, `hop_length`, `num_mel_bins`.
    """

    def __init__(self, extractor: WindowedClapFeatureExtractor):
        super().__init__()
        size, bins = extractor.fft_window_size, extractor.filters.shape[1]
        self.config = SimpleNamespace(n_fft=size, hop_length=extractor.hop_length, num_mel_bins=bins)
        self.register_buffer("window", torch.hann_window(size))
        self.register_buffer("mel_filters", torch.from_numpy(extractor.filters).float())

    @torch.no_grad()
    def forward(self, input_values: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, mel bins) decibels, float32."""
        with torch.autocast(input_values.device.type, enabled=False):
            options = {"window": self.window, "center": True, "pad_mode": "reflect", "return_complex": True}
            spectrum = torch.stft(input_values.float(), self.config.n_fft, self.config.hop_length, **options)
            power = torch.view_as_real(spectrum).square().sum(dim=-1)
            return 10 * torch.log10((power.transpose(1, 2) @ self.mel_filters).clamp(min=1e-10))


class WindowedClapProcessor:
    """The feature extractor and the tokenizer of a `ClapModel`; saved as a `ClapProcessor`."""

    def __init__(self, feature_extractor: WindowedClapFeatureExtractor, tokenizer: PreTrainedTokenizerBase):
        self.feature_extractor, self.tokenizer = feature_extractor, tokenizer

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Writes what `AutoProcessor.from_pretrained` loads where this package is not installed."""
        extractor = copy.copy(self.feature_extractor)
        extractor.__class__ = ClapFeatureExtractor
        ClapProcessor(extractor, self.tokenizer).save_pretrained(save_directory, **kwargs)


class WindowedClapConfig(RecordedConfig, ClapConfig):
    """A `ClapConfig` with a `record`. The file does not name the user's folders."""


class _SavedAsClapModel(ClapModel):
    """Its config names transformers' class, not the subclass."""

    def save_pretrained(self, *args, **kwargs) -> None:
        plain = copy.copy(self)
        plain.__class__ = ClapModel
        plain.save_pretrained(*args, **kwargs)


class WindowedClapModel(ClassifyingMixin, WholeCheckpointMixin, _SavedAsClapModel):
    """A `ClapModel` that takes windows. No input is longer than a window, so nothing is fused."""

    config_class = WindowedClapConfig
    encoders = ("audio_model.audio_encoder.", "text_model.")
    poolings = ()

    @classmethod
    def read_processor(cls, name: str, **kwargs) -> WindowedClapProcessor:
        try:
            extractor = WindowedClapFeatureExtractor.from_pretrained(name, **kwargs)
        except (TypeError, AttributeError, ArithmeticError) as error:  # settings that are no mapping, or a rate of 0
            raise OSError(f"{name} has a damaged feature extractor") from error
        tokenizer = AutoTokenizer.from_pretrained(name, **kwargs)
        if len(tokenizer) <= len(tokenizer.all_special_tokens):  # transformers' result where all files are missing
            raise OSError(f"{name} has no tokenizer")
        return WindowedClapProcessor(extractor, tokenizer)

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of the factor of the cosines in `logits_per_audio`, under our model's name for it."""
        return self.logit_scale_a

    @property
    def logit_scales(self) -> Tensor:
        """(2,): for `logits_per_audio` and for `logits_per_text`."""
        return torch.stack([self.logit_scale_a, self.logit_scale_t])

    @property
    def front_end(self) -> ClapLogMel:
        """Makes the spectrograms of waveforms. It is not part of the weights."""
        front_end = self.__dict__.get("_front_end")
        if front_end is None:
            front_end = self.__dict__["_front_end"] = ClapLogMel(self.processor.feature_extractor)
        return front_end.to(self.device)

    def log_mel(self, input_values: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, mel bins), without gradient."""
        return self.front_end(input_values)

    def get_audio_features(
        self, input_features: Tensor | None = None, input_values: Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """Embeds windows.

        Args:
            input_features: (batch, channels, frames, mel bins), or without channels as `log_mel` makes them.
            input_values: (batch, samples), instead of `input_features`.

        Raises:
            InputError: neither was given. For instance, this model does not take the frames of a tower.
        """
        images, is_longer = self._images(input_features, input_values)
        return super().get_audio_features(images, is_longer=is_longer)

    def forward(self, input_ids=None, input_features=None, attention_mask=None, input_values=None, **kwargs):
        """Scores windows against texts. The windows are given as for `get_audio_features`."""
        images, is_longer = self._images(input_features, input_values)
        return super().forward(
            input_ids=input_ids, input_features=images, is_longer=is_longer, attention_mask=attention_mask, **kwargs
        )

    def _images(self, features: Tensor | None, waveforms: Tensor | None) -> tuple[Tensor, Tensor]:
        if features is None and waveforms is None:
            raise InputError("transformers' CLAP takes input_features or input_values, and nothing that a tower made")
        if features is None:
            features = self.log_mel(waveforms)
        if features.dim() == 3:
            channels = 4 if self.config.audio_config.enable_fusion else 1
            features = features.unsqueeze(1).expand(-1, channels, -1, -1)
        return features.to(self.dtype), torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)

    def unused_parameters(self) -> list[nn.Parameter]:
        """The weights that fuse the parts of longer inputs: no window ever reaches them."""
        fuses = re.compile(r"\.(fusion_model|mel_conv2d)\.")
        return [weight for name, weight in self.named_parameters() if fuses.search(name)]


def windowed(model: ClapModel, processor: WindowedClapProcessor) -> WindowedClapModel:
    """Puts a `ClapModel` into this form. The weights are shared, so training changes the user's own model."""
    if not isinstance(model, WindowedClapModel):
        model = copy.copy(model)  # copies the module only: its towers are shared
        model.__class__ = WindowedClapModel
        model.config = copy.copy(model.config)
        model.config.__class__ = WindowedClapConfig
    check_windows(processor.feature_extractor, model.config.audio_config)
    model.processor = processor
    return model


_RATES = (1000, 500_000)  # Hz


def check_windows(extractor: WindowedClapFeatureExtractor, config: ClapAudioConfig) -> None:
    """Checks that a model can take the output of its feature extractor.

    Raises:
        InputError: a rate that no audio has, a window without frames, too many frames, or a wrong number of mel bins.
    """
    rate, hop, bins = extractor.sampling_rate, extractor.hop_length, extractor.feature_size
    if not isinstance(rate, int) or not _RATES[0] <= rate <= _RATES[1]:
        raise InputError(f"its feature extractor hears {rate} Hz, and not {_RATES[0]} to {_RATES[1]}")
    if bins != config.num_mel_bins:
        raise InputError(f"its feature extractor makes {bins} mel bins, and the model takes {config.num_mel_bins}")
    frames = extractor.window_samples // hop + 1 if hop > 0 else 0
    longest = config.spec_size * (config.spec_size // config.num_mel_bins)
    if not 1 < frames <= longest:
        raise InputError(
            f"its feature extractor makes {frames} frames of a window, and the model takes 2 to {longest}"
        )


def windowing(processor) -> WindowedClapProcessor:
    """Puts a `ClapProcessor` into this form."""
    if isinstance(processor, WindowedClapProcessor):
        return processor
    extractor = WindowedClapFeatureExtractor.from_dict(processor.feature_extractor.to_dict())
    return WindowedClapProcessor(extractor, processor.tokenizer)
