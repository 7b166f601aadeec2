"""What a model must offer so that this package can curate with it, evaluate it, and train it.

Ours and transformers' CLAP do. A model of others, a `ForeignModel`, has the marked members alone: it can teach and be
evaluated, and not be trained. Nothing outside `checkpoints` asks which of them a model is.
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
        model_input_names: (to teach) the first is what `windows` makes, as `get_audio_features` calls it.
    """

    sampling_rate: int
    window_samples: int
    model_input_names: list[str]

    def windows(self, waveform: np.ndarray) -> np.ndarray:
        """(to teach) (samples,) -> (windows, ...) float32, what the tower takes; the same each time."""

    def fill_window(self, waveform: np.ndarray, size: int, place: int) -> np.ndarray:
        """A clip shorter than a window, in one to train on: (size,)."""


class AudioTextProcessor(Protocol):
    """A feature extractor and a tokenizer."""

    feature_extractor: WindowExtractor
    tokenizer: PreTrainedTokenizerBase

    def save_pretrained(self, save_directory) -> None:
        """Writes what `AutoProcessor.from_pretrained` loads."""


class AudioTextModel(Protocol):
    """Two towers into one space.

    Attributes:
        config: takes a `record` of how the model came about; (to teach) has `model_type`, `projection_dim`,
            `_name_or_path` and `_commit_hash`.
        processor: (to teach) its own.
        audio_model, text_model: the towers; what lies above them has other names.
        encoders: how the names of the towers' layers begin; what lies above them, pools and projects.
        poolings: the ways in which it can be made to pool over time; none for a model that has only its own.
        front_end: (batch, samples) -> (batch, frames, mel bins), with its `config`, `window` and `mel_filters`.
        logit_scale: the logarithm of what `logits_per_audio` multiplies cosines by.
        logit_scales: the same of both directions: a scalar, or (2,).
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
        """(to teach) Of a `ForeignModel`, in place of `get_text_features`: texts to unit vectors (texts, dim)."""

    def log_mel(self, input_values: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, mel bins), which `forward` takes as `input_features`."""

    def unused_parameters(self) -> list[nn.Parameter]:
        """Weights that no window reaches; they stay as they are."""

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Writes a checkpoint that `AutoModel.from_pretrained` loads."""
