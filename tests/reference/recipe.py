"""Weights and inputs of the golden values: the same numbers on every machine, from numpy alone.

`record_msclap.py` gives them to the reference implementation and keeps its outputs; the tests give them to this
package and compare. The names and shapes are those of the published files: CLAP 2022's and, without its prefix, that
of PANNs' Cnn14. Every tensor has its own `RandomState`, seeded by its name, and draws by `random_sample` only: numpy
never changes that stream. What the published files compute rather than learn, the STFT kernels and the mel matrix,
is computed here too.
"""

import zlib

import numpy as np


CLAP_FRONT_END = {
    "sampling_rate": 44100,
    "n_fft": 1024,
    "hop_length": 320,
    "num_mel_bins": 64,
    "min_frequency": 50.0,
    "max_frequency": 14000.0,
}
PANNS_32K_FRONT_END = {**CLAP_FRONT_END, "sampling_rate": 32000}
PANNS_16K_FRONT_END = {
    **CLAP_FRONT_END,
    "sampling_rate": 16000,
    "n_fft": 512,
    "hop_length": 160,
    "max_frequency": 8000.0,
}

AUDIO_PREFIX = "audio_encoder.base."
TEXT_PREFIX = "caption_encoder.base."
MEL_KEY = "logmel_extractor.melW"
REAL_KEY = "spectrogram_extractor.stft.conv_real.weight"
IMAG_KEY = "spectrogram_extractor.stft.conv_imag.weight"

AUDIO_DIM, TEXT_DIM, FEED_FORWARD_DIM, JOINT_DIM = 2048, 768, 3072, 1024
AUDIOSET_CLASSES = 527
BERT_LAYERS, BERT_VOCABULARY, BERT_POSITIONS = 12, 30522, 512
CHUNK = 1 << 20  # numbers drawn at a time: float64 copies stay small
EPSILON = float(np.finfo(np.float32).eps)


# --- names and shapes ------------------------------------------------------------------------------------------------


def cnn14_shapes(front_end: dict = PANNS_32K_FRONT_END, prefix: str = "") -> dict[str, tuple]:
    """Name -> shape of every tensor in PANNs' Cnn14."""
    frequencies = front_end["n_fft"] // 2 + 1
    shapes = {
        REAL_KEY: (frequencies, 1, front_end["n_fft"]),
        IMAG_KEY: (frequencies, 1, front_end["n_fft"]),
        MEL_KEY: (frequencies, front_end["num_mel_bins"]),
        **_batch_norm_shapes("bn0", front_end["num_mel_bins"]),
    }
    for block in range(1, 7):
        name, inner, outer = f"conv_block{block}", 32 * 2 ** (block - 1) if block > 1 else 1, 32 * 2**block
        shapes[f"{name}.conv1.weight"] = (outer, inner, 3, 3)
        shapes[f"{name}.conv2.weight"] = (outer, outer, 3, 3)
        shapes |= _batch_norm_shapes(f"{name}.bn1", outer) | _batch_norm_shapes(f"{name}.bn2", outer)
    shapes |= _linear_shapes("fc1", AUDIO_DIM, AUDIO_DIM) | _linear_shapes("fc_audioset", AUDIO_DIM, AUDIOSET_CLASSES)
    return {prefix + key: shape for key, shape in shapes.items()}


def clap_shapes(position_ids: bool = False) -> dict[str, tuple]:
    """Name -> shape of every tensor in CLAP 2022's state dict.

    Args:
        position_ids: with the buffer that transformers before 4.31 wrote into BERT's state dict.
    """
    return {
        "logit_scale": (),
        **cnn14_shapes(CLAP_FRONT_END, AUDIO_PREFIX),
        **_projection_shapes("audio_encoder.projection", AUDIO_DIM),
        **_bert_shapes(TEXT_PREFIX, position_ids),
        **_projection_shapes("caption_encoder.projection", TEXT_DIM),
    }


def _linear_shapes(name: str, inner: int, outer: int) -> dict[str, tuple]:
    return {f"{name}.weight": (outer, inner), f"{name}.bias": (outer,)}


def _norm_shapes(name: str, size: int) -> dict[str, tuple]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _batch_norm_shapes(name: str, size: int) -> dict[str, tuple]:
    running = {f"{name}.running_mean": (size,), f"{name}.running_var": (size,), f"{name}.num_batches_tracked": ()}
    return _norm_shapes(name, size) | running


def _projection_shapes(name: str, inner: int) -> dict[str, tuple]:
    return {
        f"{name}.linear1.weight": (JOINT_DIM, inner),
        f"{name}.linear2.weight": (JOINT_DIM, JOINT_DIM),
        **_norm_shapes(f"{name}.layer_norm", JOINT_DIM),
    }


def _bert_shapes(prefix: str, position_ids: bool) -> dict[str, tuple]:
    shapes = {
        "embeddings.word_embeddings.weight": (BERT_VOCABULARY, TEXT_DIM),
        "embeddings.position_embeddings.weight": (BERT_POSITIONS, TEXT_DIM),
        "embeddings.token_type_embeddings.weight": (2, TEXT_DIM),
        **_norm_shapes("embeddings.LayerNorm", TEXT_DIM),
    }
    if position_ids:
        shapes["embeddings.position_ids"] = (1, BERT_POSITIONS)
    for layer in range(BERT_LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= _linear_shapes(f"{name}.{part}", TEXT_DIM, TEXT_DIM)
        shapes |= _norm_shapes(f"{name}.attention.output.LayerNorm", TEXT_DIM)
        shapes |= _linear_shapes(f"{name}.intermediate.dense", TEXT_DIM, FEED_FORWARD_DIM)
        shapes |= _linear_shapes(f"{name}.output.dense", FEED_FORWARD_DIM, TEXT_DIM)
        shapes |= _norm_shapes(f"{name}.output.LayerNorm", TEXT_DIM)
    shapes |= _linear_shapes("pooler.dense", TEXT_DIM, TEXT_DIM)
    return {prefix + key: shape for key, shape in shapes.items()}


# --- weights ---------------------------------------------------------------------------------------------------------


def random_weights(shapes: dict[str, tuple], front_end: dict = CLAP_FRONT_END) -> dict[str, np.ndarray]:
    """A state dict with these names and shapes: float32, and int64 where the published files count.

    CLAP's audio tower and PANNs' Cnn14 get the same tensors, but for the front end: seeds leave CLAP's prefix out.
    """
    return {key: _weight(key.removeprefix(AUDIO_PREFIX), shape, front_end) for key, shape in shapes.items()}


def _weight(key: str, shape: tuple, front_end: dict) -> np.ndarray:
    """Draws or computes one tensor, on a scale that keeps activations alive and inputs apart through the whole net."""
    if key == MEL_KEY:
        return mel_matrix(**front_end)
    if key in (REAL_KEY, IMAG_KEY):
        return stft_kernel(front_end["n_fft"], imaginary=key == IMAG_KEY)
    if key.endswith("num_batches_tracked"):
        return np.array(1000, dtype=np.int64)
    if key.endswith("position_ids"):
        return np.arange(shape[-1], dtype=np.int64).reshape(shape)
    low, high = _weight_range(key, shape)
    return _uniform(key, shape, low, high)


def _weight_range(key: str, shape: tuple) -> tuple[float, float]:
    """The bounds of the uniform distribution that this tensor is drawn from."""
    owner, _, leaf = key.rpartition(".")
    if key == "logit_scale":
        return 2.5, 3.5
    if owner == "bn0" and leaf.startswith("running"):  # decibels of a mel bin
        return (-40.0, -20.0) if leaf == "running_mean" else (300.0, 500.0)
    if leaf == "running_mean":
        return -0.1, 0.1
    if leaf == "running_var":
        return 0.5, 2.0
    if leaf == "bias":
        return -0.1, 0.1
    if len(shape) == 1:  # the gain of a batch or layer norm
        return 0.5, 1.5
    if "embeddings" in owner:
        return -0.06, 0.06
    bound = np.sqrt(6 / np.prod(shape[1:]))  # He et al.: keeps the variance through a ReLU
    if owner.endswith(("query", "key")):  # attention that prefers some tokens
        bound *= 2
    return -bound, bound


def _uniform(key: str, shape: tuple, low: float, high: float) -> np.ndarray:
    """Uniform float32 numbers from the stream that belongs to the key."""
    stream = np.random.RandomState(zlib.crc32(key.encode()))
    values = np.empty(int(np.prod(shape)), dtype=np.float32)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        part[:] = low + (high - low) * stream.random_sample(len(part))
    return values.reshape(shape)


def hann_window(n_fft: int) -> np.ndarray:
    """The periodic Hann window, float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


def stft_kernel(n_fft: int, imaginary: bool) -> np.ndarray:
    """Window times discrete Fourier transform as a convolution's weight: (n_fft / 2 + 1, 1, n_fft), float32."""
    turns = np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) % n_fft  # exact: whole turns fall away
    angles = 2 * np.pi * turns / n_fft
    waves = -np.sin(angles) if imaginary else np.cos(angles)
    return (waves * hann_window(n_fft)).astype(np.float32)[:, None, :]


def mel_matrix(sampling_rate, n_fft, num_mel_bins, min_frequency, max_frequency, **_) -> np.ndarray:
    """Triangles of equal area, equally spaced on Slaney's mel scale: (n_fft / 2 + 1, mel bins), float32."""
    corners = _mel_to_hertz(np.linspace(_hertz_to_mel(min_frequency), _hertz_to_mel(max_frequency), num_mel_bins + 2))
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    hertz = (np.arange(n_fft // 2 + 1) * sampling_rate / n_fft)[:, None]
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (right - left)).astype(np.float32)


def _hertz_to_mel(hertz: float) -> float:
    """Slaney's scale: 200/3 Hz a mel up to 1 kHz, then 27 mels for each factor of 6.4."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))


# --- inputs ----------------------------------------------------------------------------------------------------------


def inputs() -> dict[str, np.ndarray]:
    """Name -> mono waveform in [-1, 1] at 44.1 kHz, float32."""
    return {
        "0.3 s": _mixture("0.3 s", 0.3),
        "5 s": _mixture("5 s", 5),
        "7 s": _mixture("7 s", 7),
        "silence": np.zeros(5 * 44100, dtype=np.float32),
        "full-scale noise": _uniform("full-scale noise", (5 * 44100,), -1, 1),
        "tone": (0.5 * np.sin(2 * np.pi * 1000 * _seconds(5))).astype(np.float32),
    }


def _seconds(duration: float) -> np.ndarray:
    return np.arange(round(duration * 44100)) / 44100


def _mixture(name: str, duration: float) -> np.ndarray:
    """Noise whose loudness swells and four tones that start one after the other."""
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    time = _seconds(duration)
    swell = np.sin(np.pi * (1 + 4 * stream.random_sample()) * time / duration) ** 2
    mixture = 0.3 * stream.random_sample() * swell * (2 * stream.random_sample(len(time)) - 1)
    for start in np.arange(4) / 4 * duration:
        frequency, loudness = 100 * 80 ** stream.random_sample(), 0.02 + 0.15 * stream.random_sample()
        mixture += np.where(time >= start, loudness * np.sin(2 * np.pi * frequency * (time - start)), 0)
    return mixture.astype(np.float32)


def token_batches() -> list[dict[str, np.ndarray]]:
    """Three texts of 5, 12 and 100 tokens, one batch each: `input_ids` and `attention_mask`, (1, 100) int64."""
    return [_tokens(length) for length in (5, 12, 100)]


def _tokens(length: int, padded: int = 100) -> dict[str, np.ndarray]:
    """[CLS], random words, [SEP], then padding."""
    stream = np.random.RandomState(length)
    words = (1000 + (BERT_VOCABULARY - 1000) * stream.random_sample(length - 2)).astype(np.int64)
    input_ids = np.zeros((1, padded), dtype=np.int64)
    input_ids[0, :length] = [101, *words, 102]
    return {"input_ids": input_ids, "attention_mask": (np.arange(padded) < length).astype(np.int64)[None]}


# --- what is kept of the outputs -------------------------------------------------------------------------------------


def thin_log_mel(log_mel):
    """(frames, mel bins) -> every 23rd frame, every 7th bin."""
    return log_mel[::23, ::7]


def thin_embeds(embeds):
    """(..., dim) -> every 8th entry."""
    return embeds[..., ::8]


def log_mel_tolerance(log_mel: np.ndarray) -> np.ndarray:
    """How far each decibel of a (frames, mel bins) log-mel may be off in float32.

    A Fourier transform rounds relative to the loudest frequency of the frame: one float32 epsilon of that amplitude
    is 0.001 dB in a bin 60 dB below, and 0.1 dB in one 100 dB below. To that comes 0.0001 dB for bins that are loud.
    """
    depth = log_mel.max(axis=1, keepdims=True) - log_mel
    return 1e-4 + 20 / np.log(10) * EPSILON * 10 ** (depth / 20)
