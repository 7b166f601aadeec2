"""The built-in demo: the folders of its results, and sizes and schedules for two CPU cores."""

from pathlib import Path


NAME = "soundscapes"
STAGES = "teacher (2 minutes), pairs (1 minute), student and scores (1 minute), on one core; results are reused"

# The paper's towers would take days. `scratch` is a small text tower with a vocabulary of its own.
_MODEL = {"text_model": "scratch", "base_channels": 8, "hop_length": 882, "projection_dim": 256, "dropout": 0.0}


def _folder(name: str, seed: int) -> str:
    return str(Path("outputs") / NAME / f"seed-{seed}" / name)


def teacher(seed: int) -> dict:
    return _MODEL | {
        "seed": seed, "output_dir": _folder("teacher", seed), "num_train_epochs": 10,
        "learning_rate": 1e-3, "per_device_train_batch_size": 16, "logging_steps": 60,
    }  # fmt: skip


def curation(strategy: str, seed: int) -> dict:
    """The thresholds are numbers of captions and pairs: this teacher's cosines have another scale than the paper's."""
    return {
        "seed": seed, "output_dir": _folder(f"improvement_set_{strategy}", seed), "strategy": strategy,
        "teacher": _folder("teacher", seed), "captions": [NAME], "audio": [NAME], "labels": NAME,
        "num_captions": 60, "num_pairs": 1500,
    }  # fmt: skip


def student(strategy: str, seed: int, init: str) -> dict:
    return (_MODEL if init == "fresh" else {}) | {
        "output_dir": _folder(f"student_{strategy}", seed), "task": [NAME], "max_steps": 240,
        "learning_rate": 1e-3, "per_device_train_batch_size": 32, "logging_steps": 60,
    }  # fmt: skip


def temporal(stage: str, seed: int) -> dict:
    return {
        "output_dir": _folder(f"temporal_{stage}", seed), "model": _folder("teacher", seed),
        "clips": [f"{NAME}:train"], "task": [NAME], "num_scenes": 1500, "max_steps": 400, "word_steps": 400,
        "learning_rate": 2e-3, "encoder_learning_rate": 2e-3, "freeze_audio_encoder": True,
    }  # fmt: skip
