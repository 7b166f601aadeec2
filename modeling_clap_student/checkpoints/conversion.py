"""Converts checkpoints of Microsoft's CLAP 2022 and of PANNs' Cnn14 to ours, with their mel matrix.

The paper's own checkpoints have the same layout as CLAP 2022, and convert the same way.
"""

import hashlib
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, PreTrainedModel

from ..card_clap_student import model_card
from ..configuration_clap_student import ClapStudentAudioConfig, ClapStudentConfig
from ..errors import InputError, reading
from ..feature_extraction_clap_student import ClapStudentFeatureExtractor
from ..modeling_clap_student import ClapStudentAudioModel, ClapStudentModel, mel_matrix
from ..processing_clap_student import MAX_TEXT_LENGTH, ClapStudentProcessor
from ..utils.outputs import whole_folder
from ..version import __version__


STFT = "spectrogram_extractor.stft.conv_real.weight"
# The published files hold these, and this model does not need them: the STFT's imaginary half (computed here), the
# AudioSet classifier, BERT's pooler and its position numbers.
IGNORED_IN_PANNS = ("spectrogram_extractor.stft.conv_imag.weight", "fc_audioset.weight", "fc_audioset.bias")
IGNORED_IN_CLAP = (
    *(f"audio_encoder.base.{key}" for key in IGNORED_IN_PANNS),
    "caption_encoder.base.pooler.dense.weight",
    "caption_encoder.base.pooler.dense.bias",
    "caption_encoder.base.embeddings.position_ids",
)
# The rates for which the published mel matrices were made, with their upper edges, Hz.
MEL_MATRICES = {32000: 14000.0, 44100: 14000.0, 16000: 8000.0}
# Training checkpoints also hold a sampler's numpy arrays. These classes only carry data; they run nothing.
_NUMPY = [
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    np._core.multiarray._reconstruct,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64")),
]


@dataclass(frozen=True)
class Conversion:
    """The facts of a finished conversion."""

    output_dir: Path
    mel_sampling_rate: int | None  # the rate of the file's mel matrix, Hz; None for an unknown matrix
    last_mel_bin: int  # the last frequency bin that the matrix uses
    ignored: list[str]  # keys of the file that the model does not need


def convert_msclap_checkpoint(
    checkpoint_path: Path | str, output_dir: Path | str, tokenizer: str | None = None
) -> Conversion:
    """Converts a file of CLAP 2022 or of the paper into a `ClapStudentModel` checkpoint with its processor.

    Args:
        checkpoint_path: the `.pth` file. Opening it executes no code.
        output_dir: a new folder.
        tokenizer: Hub id or folder of the text tower's tokenizer, bert-base-uncased by default.

    Raises:
        InputError: another kind of file, missing or unexpected keys, wrong shapes, or no tokenizer.
    """
    state = read_state_dict(checkpoint_path)
    with _errors_naming(checkpoint_path):
        _check_kind(state, "clap", checkpoint_path)
        model = _clap_model(state, checkpoint_path, tokenizer)
    return _save(model, checkpoint_path, output_dir, state, IGNORED_IN_CLAP)


def convert_panns_checkpoint(checkpoint_path: Path | str, output_dir: Path | str) -> Conversion:
    """Converts PANNs' Cnn14 (32 or 16 kHz) into a `ClapStudentAudioModel` checkpoint with its feature extractor.

    Args:
        checkpoint_path: the `.pth` file. Opening it executes no code.
        output_dir: a new folder.

    Raises:
        InputError: another kind of file, missing or unexpected keys, wrong shapes, or an unknown mel matrix.
    """
    state = read_state_dict(checkpoint_path)
    with _errors_naming(checkpoint_path):
        _check_kind(state, "panns", checkpoint_path)
        model = _panns_model(state, checkpoint_path)
    return _save(model, checkpoint_path, output_dir, state, IGNORED_IN_PANNS)


@contextmanager
def _errors_naming(path: Path | str) -> Iterator[None]:
    """Names the file in any error about its tensors."""
    with reading(path, "checkpoint of a known layout"):
        try:
            yield
        except InputError as error:
            if str(path) in str(error):
                raise
            raise InputError(f"{path}: {error}") from error


def _clap_model(state: dict[str, Tensor], path: Path | str, tokenizer: str | None) -> ClapStudentModel:
    config = ClapStudentConfig(
        audio_config=_audio_config(_audio_part(state), sampling_rate=44100).to_dict(),
        text_config=_text_config(state).to_dict(),
        projection_dim=_shape(state, "audio_encoder.projection.linear1.weight")[0],
    )
    model = ClapStudentModel(config)
    _load_weights(model, state, _clap_key, IGNORED_IN_CLAP, path)
    model.processor = ClapStudentProcessor(
        ClapStudentFeatureExtractor(sampling_rate=config.audio_config.sampling_rate),
        _load_tokenizer(tokenizer or "bert-base-uncased", config.text_config.vocab_size),
    )
    return model


def _audio_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "audio_encoder.base."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _panns_model(state: dict[str, Tensor], path: Path | str) -> ClapStudentAudioModel:
    model = ClapStudentAudioModel(_audio_config(state))
    _load_weights(model, state, _panns_key, IGNORED_IN_PANNS, path)
    # PANNs was trained on clips of 10 s.
    model.processor = ClapStudentFeatureExtractor(sampling_rate=model.config.sampling_rate, window_seconds=10.0)
    return model


def load_audio_tower(path: Path | str) -> ClapStudentAudioModel:
    """Loads the audio tower from a file of either kind. Raises as the conversions do."""
    state = read_state_dict(path)
    if checkpoint_kind(state) == "clap":
        state = _audio_part(state)
    with _errors_naming(path):
        _check_kind(state, "panns", path)
        return _panns_model(state, path)


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Opens a `.pth` file without executing code. Finds the tensors wherever training scripts put them."""
    if not Path(path).is_file():
        raise InputError(f"no such checkpoint file: {path}")
    try:
        with torch.serialization.safe_globals(_NUMPY):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen unrelated types for files that are no checkpoint
        reason = "it is damaged, or would run code on opening" if isinstance(error, pickle.UnpicklingError) else error
        raise InputError(f"{path} is no checkpoint of tensors alone: {' '.join(str(reason).split())[:200]}") from error
    for name in ("model", "state_dict"):
        content = content.get(name, content) if isinstance(content, dict) else content
    pairs = content.items() if isinstance(content, dict) else [(None, None)]
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in pairs):
        raise InputError(f"{path} holds no state dict, neither by itself nor under 'model' or 'state_dict'")
    return {key.removeprefix("module."): value for key, value in content.items()}


def checkpoint_kind(state: dict[str, Tensor]) -> str | None:
    """`clap` for CLAP 2022's layout, `panns` for Cnn14's, None for any other."""
    if "audio_encoder.base.conv_block1.conv1.weight" in state:
        return "clap"
    return "panns" if "conv_block1.conv1.weight" in state else None


def _check_kind(state: dict[str, Tensor], expected: str, path: Path | str) -> None:
    names = {
        "clap": "a CLAP 2022 checkpoint (audio_encoder.base.conv_block1…, caption_encoder…)",
        "panns": "a PANNs Cnn14 checkpoint (conv_block1…)",
        None: f"of an unknown layout (its first key is {next(iter(state), 'none')!r})",
    }
    if (kind := checkpoint_kind(state)) != expected:
        hint = f": use convert_{'panns' if kind == 'panns' else 'msclap'}_checkpoint" if kind else ""
        raise InputError(f"{path} is {names[kind]} and not {names[expected]}{hint}")


def _load_weights(model: PreTrainedModel, state: dict[str, Tensor], source_key, ignored, path: Path | str) -> None:
    """Fills a model from a file's tensors. `source_key` turns our keys into the file's."""
    own = model.state_dict()
    keys = {source_key(key): key for key in own}
    counters = {key for key in keys if key.endswith("num_batches_tracked")}  # absent from files of old torch
    shapes = {key: own[keys[key]].shape for key in keys if key in state}
    shapes |= {key: (shape[0] // 2 + 1, 1, shape[0]) for key, shape in shapes.items() if key.endswith(STFT)}
    problems = [f"{key} is missing" for key in sorted(keys.keys() - state.keys() - counters)]
    problems += [f"{key} is unexpected" for key in sorted(state.keys() - keys.keys() - set(ignored))]
    problems += [
        f"{key} is {tuple(state[key].shape)} and not {tuple(shape)}"
        for key, shape in shapes.items()
        if state[key].shape != shape
    ]
    problems += [f"{key} holds NaN or infinite values" for key in shapes if not state[key].isfinite().all()]
    if problems:
        remainder = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise InputError(f"{path} does not fit: {'; '.join(problems[:4])}{remainder}")
    weights = {keys[key]: state[key].to(own[keys[key]].dtype) for key in shapes}
    window = next(key for key in weights if key.endswith("front_end.window"))
    weights[window] = _window(weights[window], path)
    model.load_state_dict(weights, strict=False)  # missing keys are in `problems` already
    model.eval()


def _window(kernels: Tensor, path: Path | str) -> Tensor:
    """(frequencies, 1, n_fft) real STFT kernels -> the window (n_fft,), which is their row for frequency 0."""
    window = kernels[0, 0].clone()
    frequency = 2 * torch.pi * torch.arange(len(kernels)) / len(window)
    expected = torch.cos(frequency[:, None] * torch.arange(len(window))) * window
    if not torch.allclose(kernels[:, 0], expected, atol=1e-3):
        raise InputError(f"{path}: its STFT kernels are no windowed Fourier transform, and the model's are")
    return window


def _panns_key(key: str) -> str:
    special = {"front_end.mel_filters": "logmel_extractor.melW", "front_end.window": STFT}
    return special.get(key) or re.sub(r"^blocks\.(\d)", lambda match: f"conv_block{int(match[1]) + 1}", key)


def _clap_key(key: str) -> str:
    part, _, name = key.partition(".")
    if part == "audio_model":
        return f"audio_encoder.base.{_panns_key(name)}"
    prefixes = {
        "audio_projection": "audio_encoder.projection.",
        "text_model": "caption_encoder.base.",
        "text_projection": "caption_encoder.projection.",
    }
    return prefixes.get(part, part) + name


def _audio_config(state: dict[str, Tensor], sampling_rate: int | None = None) -> ClapStudentAudioConfig:
    """The tower's sizes, read from its tensors. Without a rate, the rate of the mel matrix is used."""
    mel_filters = state.get("logmel_extractor.melW", torch.empty(513, 64))
    if mel_filters.ndim != 2 or not mel_filters.any():
        raise InputError(f"logmel_extractor.melW is no mel matrix: its shape is {tuple(mel_filters.shape)}")
    n_fft = 2 * (len(mel_filters) - 1)
    mel_rate = mel_sampling_rate(mel_filters)
    if sampling_rate is None and mel_rate is None:
        raise InputError(f"its mel matrix (last bin {_last_bin(mel_filters)}) is of no rate in {[*MEL_MATRICES]}")
    return ClapStudentAudioConfig(
        sampling_rate=sampling_rate or mel_rate,
        mel_sampling_rate=mel_rate,
        n_fft=n_fft,
        hop_length=n_fft * 5 // 16,  # 320 for 1024, 160 for 512
        num_mel_bins=mel_filters.shape[1],
        max_frequency=MEL_MATRICES[mel_rate or sampling_rate],
        base_channels=_shape(state, "conv_block1.conv1.weight")[0],
    )


def mel_sampling_rate(mel_filters: Tensor) -> int | None:
    """The rate for which a mel matrix (frequencies, bins) was made, Hz; None if the matrix is unknown."""
    for rate, max_frequency in MEL_MATRICES.items():
        config = ClapStudentAudioConfig(
            sampling_rate=rate,
            n_fft=2 * (len(mel_filters) - 1),
            num_mel_bins=mel_filters.shape[1],
            max_frequency=max_frequency,
        )
        if torch.allclose(mel_matrix(config), mel_filters.float(), atol=1e-5):
            return rate
    return None


def _last_bin(mel_filters: Tensor) -> int:
    return int(mel_filters.nonzero()[:, 0].max())


def _text_config(state: dict[str, Tensor]) -> BertConfig:
    """BERT's sizes, read from its tensors. Heads have 64 dimensions, as in every size of BERT."""
    base = "caption_encoder.base."
    vocab_size, hidden_size = _shape(state, f"{base}embeddings.word_embeddings.weight")
    layers = [int(match[1]) for key in state if (match := re.match(rf"{base}encoder\.layer\.(\d+)\.", key))]
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=max(layers, default=-1) + 1,
        num_attention_heads=max(1, hidden_size // 64),
        intermediate_size=_shape(state, f"{base}encoder.layer.0.intermediate.dense.weight")[0],
        max_position_embeddings=_shape(state, f"{base}embeddings.position_embeddings.weight")[0],
    )


def _shape(state: dict[str, Tensor], key: str) -> torch.Size:
    if key not in state:
        raise InputError(f"the checkpoint lacks {key}")
    return state[key].shape


def _load_tokenizer(name: str, vocab_size: int):
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        message = f"can't load the tokenizer {name}: is it a Hub id, or a folder with tokenizer.json?"
        raise InputError(message) from error
    if len(tokenizer) > vocab_size:
        raise InputError(f"the tokenizer {name} has {len(tokenizer)} tokens and the text tower only {vocab_size}")
    tokenizer.model_max_length = MAX_TEXT_LENGTH
    return tokenizer


def _save(model: PreTrainedModel, source: Path | str, output_dir: Path | str, state, ignored) -> Conversion:
    """Writes the checkpoint with its record and card, completely or not at all."""
    filters = getattr(model, "audio_model", model).front_end.mel_filters
    digest = hashlib.sha256()
    with open(source, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    mel_rate = mel_sampling_rate(filters)
    model.config.record = {
        "version": __version__,
        "license": "unknown",
        "origin": f"Converted from `{Path(source).name}`; the weights are its own.",
        "sha256": digest.hexdigest(),
        "mel_sampling_rate": mel_rate,
    }
    with whole_folder(output_dir) as folder:
        model.save_pretrained(folder)
        model_card(str(output_dir), model.config).save(folder / "README.md")
    return Conversion(Path(output_dir), mel_rate, _last_bin(filters), sorted(key for key in ignored if key in state))
