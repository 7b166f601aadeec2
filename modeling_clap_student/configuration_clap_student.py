"""Configuration of the CLAP student: a CNN14 audio tower and a BERT text tower."""

from transformers import BertConfig, PretrainedConfig

from .redaction_clap_student import public


class RecordedConfig(PretrainedConfig):
    """A config that travels with a pushed model. Its file does not say where things lay on the user's machine."""

    def to_dict(self) -> dict:
        content = super().to_dict()
        for name in ("record", "_name_or_path", *self.sub_configs):
            if name in content:
                content[name] = public(content[name])
        return content


class ClapStudentAudioConfig(RecordedConfig):
    """The log-mel front end and the CNN14 tower (Kong et al., PANNs, arXiv 1912.10211).

    The defaults are Microsoft CLAP 2022's: 5 s at 44.1 kHz, 690 frames of 64 mel bins, 2048-wide embeddings.

    Args:
        sampling_rate: samples per second that the tower was made for, Hz.
        n_fft: length of the periodic Hann window and of the FFT, samples.
        hop_length: step between two frames, samples.
        num_mel_bins: mel filters (Slaney scale, area-normalised).
        min_frequency, max_frequency: edges of the mel filters, Hz.
        mel_sampling_rate: the rate for which the mel filters are computed, Hz; by default `sampling_rate`. Models that
            began with PANNs' weights run at 44.1 kHz and keep PANNs' filters, which were made for 32 kHz.
        base_channels: channels of the first of the six blocks; each block doubles them. 64 is CNN14. 16 needs a
            sixteenth of the work, and trains on a laptop.
        block_dropout: dropout after each block.
        hidden_dropout: dropout before and after the last fully connected layer.
        temporal_pooling: how frames become one vector. `"mean_max"` is CLAP's, which ignores the order of sounds.
            `"attention"` adds what a small transformer block hears of the order.
        temporal_hidden_size: width of that block, and of the text tower's block where it has one; a multiple of 4.
    """

    model_type = "clap_student_audio_model"
    base_config_key = "audio_config"
    num_blocks = 6

    def __init__(
        self,
        sampling_rate=44100,
        n_fft=1024,
        hop_length=320,
        num_mel_bins=64,
        min_frequency=50.0,
        max_frequency=14000.0,
        mel_sampling_rate=None,
        base_channels=64,
        block_dropout=0.2,
        hidden_dropout=0.5,
        temporal_pooling="mean_max",
        temporal_hidden_size=256,
        **kwargs,
    ):
        mel_sampling_rate = mel_sampling_rate or sampling_rate
        if max_frequency > mel_sampling_rate / 2:
            raise ValueError(f"max_frequency {max_frequency} Hz lies above half of {mel_sampling_rate} Hz")
        if temporal_pooling not in ("mean_max", "attention"):
            raise ValueError(f"temporal_pooling must be 'mean_max' or 'attention', not {temporal_pooling!r}")
        if temporal_hidden_size < 4 or temporal_hidden_size % 4:
            raise ValueError(f"temporal_hidden_size must be a multiple of 4, got {temporal_hidden_size}")
        self.sampling_rate = sampling_rate
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.num_mel_bins = num_mel_bins
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.mel_sampling_rate = mel_sampling_rate
        self.base_channels = base_channels
        self.block_dropout = block_dropout
        self.hidden_dropout = hidden_dropout
        self.temporal_pooling = temporal_pooling
        self.temporal_hidden_size = temporal_hidden_size
        super().__init__(**kwargs)

    @property
    def block_channels(self) -> list[int]:
        """Output channels of the six blocks."""
        return [self.base_channels * 2**i for i in range(self.num_blocks)]

    @property
    def hidden_size(self) -> int:
        """Width of the tower's embedding: 2048 for CNN14."""
        return self.block_channels[-1]


class ClapStudentConfig(RecordedConfig):
    """Both towers, the joint space and the initial temperature.

    Args:
        text_config: a `BertConfig` or a dictionary of its fields; bert-base-uncased by default.
        audio_config: a `ClapStudentAudioConfig` or a dictionary of its fields.
        projection_dim: size of the joint embedding space.
        projection_dropout: dropout inside the two projection heads.
        logit_scale_init_value: initial logarithm of the inverse temperature, log(1/0.07).
        text_pooling: how tokens become one vector. `"first"` is CLAP's: the state of [CLS]. `"attention"` adds what a
            small transformer block reads in all tokens.
    """

    model_type = "clap_student"
    sub_configs = {"text_config": BertConfig, "audio_config": ClapStudentAudioConfig}

    def __init__(
        self,
        text_config=None,
        audio_config=None,
        projection_dim=1024,
        projection_dropout=0.5,
        logit_scale_init_value=2.6592600369327783,
        text_pooling="first",
        **kwargs,
    ):
        if text_pooling not in ("first", "attention"):
            raise ValueError(f"text_pooling must be 'first' or 'attention', not {text_pooling!r}")
        self.text_config = _as_config(text_config, BertConfig)
        self.audio_config = _as_config(audio_config, ClapStudentAudioConfig)
        self.projection_dim = projection_dim
        self.projection_dropout = projection_dropout
        self.logit_scale_init_value = logit_scale_init_value
        self.text_pooling = text_pooling
        super().__init__(**kwargs)


def _as_config(value, config_class):
    if value is None:
        return config_class()
    if isinstance(value, dict):
        return config_class(**value)
    if not isinstance(value, config_class):
        raise TypeError(f"expected a {config_class.__name__} or a dictionary, got {type(value).__name__}")
    return value


ClapStudentAudioConfig.register_for_auto_class()
ClapStudentConfig.register_for_auto_class()

__all__ = ["ClapStudentAudioConfig", "ClapStudentConfig"]
