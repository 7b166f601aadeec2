"""Models and clips for several parts: the paper's sizes, random weights, batch norms that have seen some clips."""

from functools import cache
from pathlib import Path

import soundfile
import torch
from embedding import settle, write_clips
from gpu.record import Setting
from training_step import build_models, captions
from transformers import BertConfig

from modeling_clap_student import ClapStudentModel
from modeling_clap_student.checkpoints.initialization import scratch_tokenizer


SMALL_TEXT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@cache
def clips(setting: Setting, count: int) -> list[Path]:
    """FLAC files of 5 s at 44.1 kHz, the only files in a folder."""
    folder = setting.folder / f"clips-{count}"
    folder.mkdir()
    write_clips(folder, count, 44100, "flac")
    return sorted(folder.iterdir())


@cache
def waveforms(setting: Setting, count: int) -> torch.Tensor:
    """(clips, samples) on the CPU."""
    return torch.stack([torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in clips(setting, count)])


@cache
def student_and_teacher(setting: Setting, base_channels: int = 64) -> tuple[ClapStudentModel, ClapStudentModel]:
    """On the CPU, without dropout. With fewer channels, also a small text tower. Copy a model before training it."""
    small = {"text_config": BertConfig(**SMALL_TEXT), "projection_dim": 64}
    is_small = setting.small or base_channels < 64
    models = build_models("cpu", setting.size(base_channels, 4), **(small if is_small else {}))
    for model in models:
        settle(model, waveforms(setting, 8))
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.momentum = 0.1
    return models


@cache
def tokenizer_and_texts(setting: Setting) -> tuple:
    """A tokenizer of its own vocabulary, and captions."""
    texts = captions(setting.size(256, 8))
    return scratch_tokenizer(texts), texts
