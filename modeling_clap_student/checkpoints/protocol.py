"""The interface that a model needs so that this package can curate with it, evaluate it and train it.

Our model and transformers' CLAP have all of it. A model of another library, a `ForeignModel`, has only the members
marked "to teach": it can teach and be evaluated, but not be trained. Code outside `checkpoints` never asks which kind
a model is.
"""

from typing import Protocol

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPooling


class WindowExtractor(Protocol):
    """Cuts clips into windows of one length.

    Attributes:
        sampling_rate: (to teach) Hz.
        window_samples: (to teach) samples in a window.
        model_input_names: (to teach) the first is the name under which `get_audio_features` takes the windows.
    """

    sampling_rate: int
    window_samples: int
    model_input_names: list[str]

    def windows(self, waveform: np.ndarray) -> np.ndarray:
        """(to teach) (samples,) -> (windows, ...) float32, the input of the tower; the same each time."""

    def fill_window(self, waveform: np.ndarray, size: int, place: int) -> np.ndarray:
        """Puts a clip shorter than a window into a training window: (size,)."""


class AudioTextProcessor(Protocol):
    """A feature extractor and a tokenizer."""

    feature_extractor: WindowExtractor
    tokenizer: PreTrainedTokenizerBase

    def save_pretrained(self, save_directory) -> None:
        """Writes files that `AutoProcessor.from_pretrained` loads."""


class AudioTextModel(Protocol):
    """Two towers into one space.

    Attributes:
        config: takes a `record` of how the model was made; (to teach) has `model_type`, `projection_dim`,
            `_name_or_path` and `_commit_hash`.
        processor: (to teach) the model's own.
        audio_model, text_model: the towers. Everything above them has other names.
        encoders: prefixes of the names of the towers' layers. The layers above them pool and project.
        poolings: the ways in which it can pool over time; empty for a model that has only its own.
        front_end: (batch, samples) -> (batch, frames, mel bins), with its `config`, `window` and `mel_filters`.
        logit_scale: the logarithm of the factor of the cosines in `logits_per_audio`.
        logit_scales: the same for both directions: a scalar, or (2,).
    """

    config: PreTrainedConfig
    processor: AudioTextProcessor
    audio_model: nn.Module
    text_model: nn.Module
    encoders: tuple[str, ...]
    poolings: tuple[str, ...]
    front_end: nn.Module
    logit_scale: Tensor
    logit_scales: Tensor

    def get_audio_features(self, values: Tensor) -> BaseModelOutputWithPooling:
        """(to teach) Windows to unit vectors, `pooler_output` (windows, dim)."""

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutputWithPooling:
        """Tokens to unit vectors, `pooler_output` (texts, dim)."""

    def embed_texts(self, texts: list[str], description: str | None) -> Tensor:
        """(to teach) Only for a `ForeignModel`, in place of `get_text_features`: texts to unit vectors (texts,
        dim)."""

    def log_mel(self, input_values: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, mel bins), which `forward` takes as `input_features`."""

    def unused_parameters(self) -> list[nn.Parameter]:
        """Weights that no window reaches. Training leaves them unchanged."""

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Writes a checkpoint that `AutoModel.from_pretrained` loads."""
