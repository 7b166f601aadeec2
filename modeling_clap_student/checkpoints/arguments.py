"""The arguments of a new model: its sizes, and the weights it starts from."""

from dataclasses import dataclass
from typing import ClassVar

from ..utils.arguments import CheckedArguments, Range, flag


SCRATCH = "scratch"
TEACHER_HELP = (
    "Checkpoint folder or Hub id: of this package, of transformers' CLAP, or of another model with get_audio_features "
    "and get_text_features. With st: before it, a model of sentence-transformers that embeds audio and text."
)
TRUST_HELP = "Run the code in a checkpoint that you named. It can do whatever you can: read it first."
_WINDOW_SECONDS, MIN_FRAMES = 5, 32  # the extractor's window, and the fewest frames that survive five poolings


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
        f"Start the text tower from this BERT and its tokenizer: a Hub id or a folder. '{SCRATCH}': a small one with "
        "its own vocabulary, without pretrained weights.",
    )
    audio_weights: str | None = flag(
        None,
        "Start the audio tower from PANNs' Cnn14 or CLAP 2022 (a .pth file), or from a checkpoint of this "
        "package. Default: random weights.",
    )
    sampling_rate: int = flag(44100, "Sampling rate that the model hears, Hz. The paper's: 44100.")
    base_channels: int = flag(64, "Channels of CNN14's first block. The paper's: 64.")
    hop_length: int = flag(320, "Samples from one frame to the next. The paper's: 320.")
    projection_dim: int = flag(1024, "Dimensions of the shared embedding space.")
    dropout: float = flag(1.0, "Multiply the paper's dropout rates by this. 0: no dropout.")

    def __post_init__(self):
        super().__post_init__()
        frames = _WINDOW_SECONDS * self.sampling_rate // self.hop_length + 1
        if frames < MIN_FRAMES:
            raise ValueError(
                f"--hop_length {self.hop_length} leaves {frames} frames of {_WINDOW_SECONDS} s at "
                f"{self.sampling_rate} Hz, and the model needs {MIN_FRAMES}: give a shorter one"
            )
