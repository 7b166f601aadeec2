"""The CLAP student: CNN14 and BERT in one embedding space, as in Microsoft's CLAP 2022 (Elizalde et al.)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertModel, PreTrainedModel
from transformers import initialization as init
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clap.modeling_clap import ClapOutput
from transformers.utils.generic import maybe_autocast

from .classification_clap_student import ClassifyingMixin
from .configuration_clap_student import ClapStudentAudioConfig, ClapStudentConfig
from .encoding_clap_student import average_windows
from .feature_extraction_clap_student import ClapStudentFeatureExtractor
from .hub_clap_student import SENTENCE_FILES, WholeCheckpointMixin
from .losses import contrastive_loss
from .temporal_pooling_clap_student import AUDIO_POOLINGS, TEXT_POOLINGS, OrderHead


def mel_matrix(config: ClapStudentAudioConfig) -> Tensor:
    """The Slaney mel matrix (n_fft / 2 + 1, mel bins), float32."""
    matrix = mel_filter_bank(
        num_frequency_bins=config.n_fft // 2 + 1,
        num_mel_filters=config.num_mel_bins,
        min_frequency=config.min_frequency,
        max_frequency=config.max_frequency,
        sampling_rate=config.mel_sampling_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(matrix).float()


class LogMelSpectrogram(nn.Module):
    """(batch, samples) waveforms in [-1, 1] -> (batch, frames, mel bins) decibels, always computed in float32.

    The window and the mel matrix are persistent buffers. Models are built on the meta device, where anything missing
    from the checkpoint would be garbage. And converted checkpoints bring their own mel matrix.
    """

    window: Tensor
    mel_filters: Tensor

    def __init__(self, config: ClapStudentAudioConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.empty(config.n_fft))
        self.register_buffer("mel_filters", torch.empty(config.n_fft // 2 + 1, config.num_mel_bins))

    def forward(self, input_values: Tensor) -> Tensor:
        config = self.config
        with maybe_autocast(input_values.device.type, enabled=False):  # on every device
            spectrum = torch.stft(
                input_values.float(),
                config.n_fft,
                hop_length=config.hop_length,
                window=self.window.float(),
                center=True,
                pad_mode="reflect",
                return_complex=True,
            )
            power = torch.view_as_real(spectrum).square().sum(dim=-1)  # (batch, frequencies, frames)
            mel = power.transpose(1, 2) @ self.mel_filters.float()
            return 10 * torch.log10(mel.clamp(min=1e-10))


class ConvBlock(nn.Module):
    """Two 3 × 3 convolutions with batch norm and ReLU, then average pooling."""

    def __init__(self, in_channels: int, out_channels: int, pool: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.pool = pool

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(hidden)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        return F.avg_pool2d(hidden, self.pool) if self.pool > 1 else hidden


class ProjectionHead(nn.Module):
    """e = W₁x, then LayerNorm(e + dropout(W₂ gelu(e))): a tower's embedding to the joint space."""

    def __init__(self, in_features: int, out_features: int, dropout: float):
        super().__init__()
        self.linear1 = nn.Linear(in_features, out_features, bias=False)
        self.linear2 = nn.Linear(out_features, out_features, bias=False)
        self.layer_norm = nn.LayerNorm(out_features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        embedding = self.linear1(hidden)
        return self.layer_norm(embedding + self.dropout(self.linear2(F.gelu(embedding))))


class ClapStudentPreTrainedModel(WholeCheckpointMixin, PreTrainedModel):
    config_class = ClapStudentConfig
    base_model_prefix = "clap_student"
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ["front_end"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if isinstance(module, LogMelSpectrogram):
            init.copy_(module.window, torch.hann_window(module.config.n_fft, periodic=True))
            init.copy_(module.mel_filters, mel_matrix(module.config))
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                for name, fill in (("running_mean", init.zeros_), ("running_var", init.ones_)):
                    fill(getattr(module, name))
                init.zeros_(module.get_buffer("num_batches_tracked"))
        elif isinstance(module, OrderHead):
            init.zeros_(module.output)
        elif isinstance(module, ClapStudentModel):
            init.constant_(module.logit_scale, module.config.logit_scale_init_value)


class ClapStudentAudioModel(ClapStudentPreTrainedModel):
    """CNN14 on a log-mel spectrogram."""

    config_class = ClapStudentAudioConfig
    main_input_name = "input_values"

    def __init__(self, config: ClapStudentAudioConfig):
        super().__init__(config)
        self.front_end = LogMelSpectrogram(config)
        self.bn0 = nn.BatchNorm2d(config.num_mel_bins)
        channels = [1, *config.block_channels]
        pools = [2] * (config.num_blocks - 1) + [1]
        self.blocks = nn.ModuleList(ConvBlock(*args) for args in zip(channels[:-1], channels[1:], pools, strict=True))
        self.block_dropout = nn.Dropout(config.block_dropout)
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.pooling = AUDIO_POOLINGS[config.temporal_pooling](config)
        self.fc1 = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    @classmethod
    def read_processor(cls, name: str, **kwargs) -> ClapStudentFeatureExtractor:
        """A tower's processor is its feature extractor alone."""
        return ClapStudentFeatureExtractor.from_pretrained(name, **kwargs)

    @property
    def min_samples(self) -> int:
        """The shortest input, in samples: 32 frames survive the five poolings."""
        return (2 ** (self.config.num_blocks - 1) - 1) * self.config.hop_length

    def log_mel(self, input_values: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, mel bins), float32, without gradient.

        Raises:
            ValueError: not two axes, or too short for the tower.
        """
        if input_values.dim() != 2:
            raise ValueError(f"input_values must be (batch, samples), got {tuple(input_values.shape)}")
        if input_values.shape[1] < self.min_samples:
            raise ValueError(f"{input_values.shape[1]} samples are too few: this model needs {self.min_samples}")
        with torch.no_grad():
            return self.front_end(input_values)

    def forward(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        input_frames: Tensor | None = None,
        **kwargs,
    ):
        """Embeds waveforms, spectrograms from `log_mel`, or the output of the convolutions.

        Args:
            input_values: (batch, samples) in [-1, 1].
            input_features: (batch, frames, mel bins), instead of `input_values`.
            input_frames: a `last_hidden_state`, instead of both: only the part above the convolutions is computed.

        Returns:
            `last_hidden_state` (batch, frames / 32, hidden size), the mean over frequency, and `pooler_output`
            (batch, hidden size).
        """
        if sum(given is not None for given in (input_values, input_features, input_frames)) != 1:
            raise ValueError("give one of input_values, input_features and input_frames")
        if input_values is not None:
            input_features = self.log_mel(input_values)
        frames = input_frames if input_features is None else self.frames(input_features)
        pooled = self.hidden_dropout(self.pooling(frames))
        pooled = self.hidden_dropout(F.relu(self.fc1(pooled)))
        return BaseModelOutputWithPooling(last_hidden_state=frames, pooler_output=pooled)

    def frames(self, input_features: Tensor) -> Tensor:
        """(batch, frames, mel bins) decibels -> (batch, frames / 32, hidden size), the mean over frequency."""
        # bn0 normalises each mel bin, so it needs the bins as channels.
        hidden = self.bn0(input_features.to(self.dtype).transpose(1, 2).unsqueeze(3))
        hidden = hidden.permute(0, 3, 2, 1)  # (batch, 1, frames, mel bins)
        for block in self.blocks:
            hidden = self.block_dropout(block(hidden))
        return hidden.mean(dim=3).transpose(1, 2)


class ClapStudentModel(ClassifyingMixin, ClapStudentPreTrainedModel):
    """Audio and text in one space.

    Examples:
        >>> inputs = processor(text=["a dog barks"], audio=[waveform], sampling_rate=44100, return_tensors="pt")
        >>> model(**inputs).logits_per_audio
    """

    main_input_name = "input_values"
    supports_gradient_checkpointing = True  # in the text tower's layers
    encoders = ("audio_model.bn0.", "audio_model.blocks.", "text_model.")
    poolings = ("mean_max", "attention")
    _files_beside = SENTENCE_FILES

    def __init__(self, config: ClapStudentConfig):
        super().__init__(config)
        self.audio_model = ClapStudentAudioModel(config.audio_config)
        self.audio_projection = ProjectionHead(
            config.audio_config.hidden_size, config.projection_dim, config.projection_dropout
        )
        self.text_model = BertModel(config.text_config, add_pooling_layer=False)
        self.text_pooling = TEXT_POOLINGS[config.text_pooling](config)
        self.text_projection = ProjectionHead(
            config.text_config.hidden_size, config.projection_dim, config.projection_dropout
        )
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.post_init()

    @property
    def logit_scales(self) -> Tensor:
        """The logarithm of the factor of the cosines: one scale for both directions."""
        return self.logit_scale

    @property
    def front_end(self) -> LogMelSpectrogram:
        """Makes the spectrograms of waveforms."""
        return self.audio_model.front_end

    def log_mel(self, input_values: Tensor) -> Tensor:
        """As `ClapStudentAudioModel.log_mel`."""
        return self.audio_model.log_mel(input_values)

    def unused_parameters(self) -> list[nn.Parameter]:
        """Weights that no input reaches: none."""
        return []

    def get_audio_features(
        self,
        input_values: Tensor | None = None,
        num_windows: Tensor | None = None,
        input_features: Tensor | None = None,
        input_frames: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """Embeds clips.

        Args:
            input_values: (windows, samples) in [-1, 1] at the extractor's rate.
            num_windows: (clips,) how many consecutive windows belong to each clip; one each by default.
            input_features: (windows, frames, mel bins) from `audio_model.log_mel`, instead of `input_values`.
            input_frames: (windows, frames, hidden size), an audio tower's `last_hidden_state`, instead of both.

        Returns:
            `pooler_output` (clips, projection dim), L2-normalised.
        """
        outputs = self.audio_model(input_values, input_features, input_frames)
        embeds = F.normalize(self.audio_projection(outputs.pooler_output), dim=-1)
        outputs.pooler_output = embeds if num_windows is None else average_windows(embeds, num_windows)
        return outputs

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of the text tower's tokens."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def get_text_features(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_states: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """Embeds texts: the hidden state of [CLS], projected.

        Args:
            input_ids: (texts, tokens).
            attention_mask, token_type_ids, position_ids: as for `BertModel`.
            token_states: (texts, tokens, hidden size), a text tower's `last_hidden_state`, instead of `input_ids`.

        Returns:
            `pooler_output` (texts, projection dim), L2-normalised.

        Raises:
            ValueError: more tokens than the tower has positions for.
        """
        if token_states is None:
            if input_ids is None:
                raise ValueError("give input_ids or token_states")
            longest = self.config.text_config.max_position_embeddings
            if input_ids.shape[1] > longest:
                raise ValueError(f"a text of {input_ids.shape[1]} tokens: this model reads at most {longest}")
            token_states = self.text_model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=token_type_ids,
                position_ids=position_ids,
            ).last_hidden_state
        pooled = self.text_pooling(token_states, attention_mask)
        embeds = F.normalize(self.text_projection(pooled), dim=-1)
        return BaseModelOutputWithPooling(last_hidden_state=token_states, pooler_output=embeds)

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        num_windows: Tensor | None = None,
        input_features: Tensor | None = None,
        input_frames: Tensor | None = None,
        token_states: Tensor | None = None,
        return_loss: bool | None = None,
        **kwargs,
    ) -> ClapOutput:
        """Scores every clip against every text. The arguments are those of `get_audio_features` and
        `get_text_features`.

        Args:
            return_loss: whether to return the contrastive loss. Clip i and text i must then be a pair.

        Returns:
            `audio_embeds` (clips, dim) and `text_embeds` (texts, dim), both normalised, `logits_per_audio`
            (clips, texts), `logits_per_text`, its transpose, and `loss`.
        """
        for given in ((input_values, input_features, input_frames), (input_ids, token_states)):
            if all(one is None for one in given):
                raise ValueError("give both audio (input_values) and texts (input_ids), or call one of get_*_features")
        audio_outputs = self.get_audio_features(input_values, num_windows, input_features, input_frames)
        text_outputs = self.get_text_features(input_ids, attention_mask, token_type_ids, position_ids, token_states)
        audio_embeds, text_embeds = _pooled(audio_outputs), _pooled(text_outputs)
        logits_per_audio = self.logit_scale.exp() * audio_embeds @ text_embeds.T
        return ClapOutput(
            loss=contrastive_loss(logits_per_audio) if return_loss else None,
            logits_per_audio=logits_per_audio,
            logits_per_text=logits_per_audio.T,
            text_embeds=text_embeds,
            audio_embeds=audio_embeds,
            text_model_output=text_outputs,
            audio_model_output=audio_outputs,
        )


def _pooled(outputs: BaseModelOutputWithPooling) -> Tensor:
    """The pooled output, which both towers of this model always return."""
    assert outputs.pooler_output is not None
    return outputs.pooler_output


# Saved checkpoints carry the code of these classes, so they load where this package is not installed.
ClapStudentAudioModel.register_for_auto_class("AutoModel")
ClapStudentModel.register_for_auto_class("AutoModel")

__all__ = ["ClapStudentAudioModel", "ClapStudentModel", "ClapStudentPreTrainedModel"]
