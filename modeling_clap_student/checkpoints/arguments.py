"""The arguments of a new model: its sizes, and what it starts from."""

from dataclasses import dataclass
from typing import ClassVar

from ..utils.arguments import CheckedArguments, Range, flag


SCRATCH = "scratch"
TEACHER_HELP = (
    "Checkpoint folder or Hub id: of this package, of transformers' CLAP or another model with get_audio_features and "
    "get_text_features; or st: and one of sentence-transformers that embeds audio and text."
)
TRUST_HELP = "Let code run that lies in a checkpoint which you named. It can do all that you can: read it first."
_WINDOW_SECONDS, MIN_FRAMES = 5, 32  # what the extractor cuts, and what survives five poolings


@dataclass
class ModelArguments(CheckedArguments):
    """The sizes of a new model. The defaults are the paper's.

    Raises:
        ValueError: a size out of its range, or a hop that leaves too few frames.
    """

    title: ClassVar[str] = "A new model"
    ranges: ClassVar[dict[str, Range]] = {
        "sampling_rate": Range(4000, 384_000),
        "base_channels": Range(1, 1024),
        "hop_length": Range(16, 16_384),
        "projection_dim": Range(1, 65_536),
        "dropout": Range(0, 1.9),
    }

    text_model: str = flag(
        "bert-base-uncased",
        "BERT whose weights and tokenizer the text tower starts from: a Hub id or a folder; "
        f"'{SCRATCH}' for a small one with its own vocabulary, trained from nothing.",
    )
    audio_weights: str | None = flag(
        None,
        "What the audio tower starts from: PANNs' Cnn14 or CLAP 2022 as a .pth file, or a checkpoint of "
        "this package, folder or Hub id. Random weights without it.",
    )
    sampling_rate: int = flag(44100, "What the model hears, Hz; 44100 is the paper's.")
    base_channels: int = flag(64, "Channels of CNN14's first block; 64 is the paper's.")
    hop_length: int = flag(320, "Samples between two frames; 320 is the paper's.")
    projection_dim: int = flag(1024, "Size of the joint embedding space.")
    dropout: float = flag(1.0, "Factor on the paper's dropout rates; 0 for none.")

    def __post_init__(self):
        super().__post_init__()
        frames = _WINDOW_SECONDS * self.sampling_rate // self.hop_length + 1
        if frames < MIN_FRAMES:
            raise ValueError(
                f"--hop_length {self.hop_length} leaves {frames} frames of {_WINDOW_SECONDS} s at "
                f"{self.sampling_rate} Hz, and the model needs {MIN_FRAMES}: give a shorter one"
            )
