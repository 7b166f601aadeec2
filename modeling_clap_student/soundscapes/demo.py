"""The built-in demo: where it keeps what it makes, and sizes and schedules that suit two CPU cores."""

from pathlib import Path


NAME = "soundscapes"

# The paper's towers would take days. `scratch` is a small text tower with a vocabulary of its own.
MODEL = {"text_model": "scratch", "base_channels": 8, "hop_length": 882, "projection_dim": 256, "dropout": 0.0}


def folder(seed: int) -> Path:
    """Of the teacher, Improvement-Sets and students of one seed."""
    return Path("outputs") / NAME / f"seed-{seed}"


def teacher(seed: int) -> dict:
    """The teacher's settings."""
    return MODEL | {
        "seed": seed,
        "output_dir": str(folder(seed) / "teacher"),
        "learning_rate": 1e-3,
        "logging_steps": 60,
        "num_train_epochs": 10,
        "per_device_train_batch_size": 16,
    }


def curation(strategy: str, seed: int) -> dict:
    """Those of an Improvement-Set. Its sizes are numbers, for this teacher's cosines are not the paper's."""
    return {
        "strategy": strategy,
        "seed": seed,
        "teacher": str(folder(seed) / "teacher"),
        "captions": [NAME],
        "audio": [NAME],
        "labels": NAME,
        "num_captions": 60,
        "num_pairs": 1500,
        "output_dir": str(folder(seed) / f"improvement_set_{strategy}"),
    }


def student(strategy: str, seed: int, init: str) -> dict:
    """The student's."""
    return (MODEL if init == "fresh" else {}) | {
        "output_dir": str(folder(seed) / f"student_{strategy}"),
        "task": [NAME],
        "learning_rate": 1e-3,
        "logging_steps": 60,
        "max_steps": 240,
        "per_device_train_batch_size": 32,
    }


def temporal(stage: str, seed: int) -> dict:
    """Those of the training on the order of sounds."""
    return {
        "model": str(folder(seed) / "teacher"),
        "clips": [f"{NAME}:train"],
        "task": [NAME],
        "output_dir": str(folder(seed) / f"temporal_{stage}"),
        "learning_rate": 2e-3,
        "encoder_learning_rate": 2e-3,
        "freeze_audio_encoder": True,
        "num_scenes": 1500,
        "max_steps": 600,
        "paraphrase_from": 1.0,  # the demo's vocabulary has no such words
    }
