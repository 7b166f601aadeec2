"""A checkpoint as sentence-transformers loads it: one module, which encodes exactly as the model does."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel

from .errors import InputError
from .processing_clap_student import longest_text


# In a `try` block, so that transformers does not require this import: it loads a checkpoint without this library.
try:
    from sentence_transformers.base.modules.input_module import InputModule
except ImportError as error:
    raise ImportError(f"can't import sentence-transformers ({error}): pip install sentence-transformers") from error


_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".m4a", ".aac", ".wma", ".webm")


class SentenceClapStudent(InputModule):
    """Embeds texts and clips as `encode_text` and `encode_audio` do, to the bit, in any order and mixture.

    >>> model = SentenceTransformer("me/student", trust_remote_code=True)
    >>> model.similarity(model.encode(["rain.wav", "dog.flac"]), model.encode(["this is a sound of rain"]))

    A text that ends like the name of an audio file counts as one, unless it is given as `{"text": …}`. Other clips are
    what `encode_audio` takes: paths, bytes, arrays, tensors and dicts. For arrays without a rate, give `encode(…,
    sampling_rate=16000)`; they are refused otherwise, because no rate is assumed. `{"audio": …, "text": …}` is both at
    once: the sum of the two vectors, normalised. `prompt` is put before texts only.

    Args:
        model: with `encode_audio`, `encode_text` and a processor.

    Attributes:
        batch_size: windows, and texts, that the model sees at a time, as in `encode_audio`. The argument of `encode`
            sets how many inputs are in memory at a time; no vector depends on it.
    """

    forward_kwargs = {"sampling_rate"}
    batch_size = 32

    def __init__(self, model):
        super().__init__()
        self.model = model

    @property
    def modalities(self) -> list[Any]:
        """The kinds of input. sentence-transformers calls a batch of texts and clips "message"."""
        return ["text", "audio", "message"]

    @property
    def processor(self):
        return self.model.processor

    @property
    def tokenizer(self):  # ty: ignore[incompatible-property-override]  # read-only, as in their own Transformer
        return self.model.processor.tokenizer

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text; the rest is cut, with a warning."""
        return longest_text(self.tokenizer)

    def get_embedding_dimension(self) -> int:
        return self.model.config.projection_dim

    def preprocess(self, inputs: Sequence, prompt: str | None = None, **kwargs) -> dict:
        """Sorts the inputs. Clips are read when they are embedded, window by window.

        Returns:
            `texts` and `clips`, each mapping a place in the batch to its input.

        Raises:
            InputError: neither a text nor a clip, or a missing file.
        """
        texts, clips = {}, {}
        for place, given in enumerate(inputs):
            text, clip = _text_and_clip(given)
            if text is not None:
                texts[place] = (prompt or "") + text
            if clip is not None:
                clips[place] = clip
        return {"texts": texts, "clips": clips}

    def forward(self, features: dict, sampling_rate: int | None = None, **kwargs) -> dict:
        """Adds `sentence_embedding` (inputs, dim), float32 unit vectors.

        Raises:
            InputError: as `encode_audio`, or if gradients are wanted.
        """
        if self.training and torch.is_grad_enabled():
            raise InputError("sentence-transformers can't train this model: train it with ClapStudentTrainer")
        texts, clips = features["texts"], features["clips"]
        embeds = [
            *self.model.encode_text(list(texts.values()), self.batch_size, show_progress_bar=False),
            *self.model.encode_audio(list(clips.values()), sampling_rate, self.batch_size, show_progress_bar=False),
        ]
        rows: dict[int, Tensor] = {}
        for place, embed in zip([*texts, *clips], embeds, strict=True):
            rows[place] = F.normalize(rows[place] + embed, dim=0) if place in rows else embed
        return {"sentence_embedding": torch.stack([rows[place] for place in sorted(rows)]).to(self.model.device)}

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        trust_remote_code: bool = False,
        model_kwargs: dict | None = None,
        config_kwargs: dict | None = None,
        processor_kwargs: dict | None = None,
        backend: str = "torch",
        **kwargs,
    ) -> "SentenceClapStudent":
        """Loads the checkpoint's model. sentence-transformers calls it.

        Raises:
            InputError: a backend other than torch, or a processor other than the checkpoint's.
        """
        if backend != "torch":
            raise InputError(f"backend={backend!r}: this model runs in torch; clap-export writes it as ONNX graphs")
        if processor_kwargs:
            raise InputError(
                f"processor_kwargs={processor_kwargs}: this model takes the processor that it was saved with"
            )
        options = {"token": token, "cache_dir": cache_folder, "revision": revision, "subfolder": subfolder}
        options |= {"local_files_only": local_files_only, "trust_remote_code": trust_remote_code}
        return cls(
            AutoModel.from_pretrained(model_name_or_path, **options, **(config_kwargs or {}), **(model_kwargs or {}))
        )

    def save(self, output_path: str, *args, **kwargs) -> None:
        """Saves the model with its own `save_pretrained`, so that both libraries can load it."""
        self.model.save_pretrained(output_path)


def _text_and_clip(given) -> tuple[str | None, object]:
    """The text and the audio in an input; None for a missing one."""
    if isinstance(given, Mapping) and given and set(given) <= {"text", "audio"}:
        text, clip = given.get("text"), given.get("audio")
        if isinstance(text, str | None) and not (text is None and clip is None):
            return text, clip
    elif isinstance(given, str):
        if not given.lower().endswith(_SUFFIXES):
            return given, None
        if not os.path.isfile(given):
            raise InputError(f"can't read {given}: no such file; a text that ends so is given as {{'text': ...}}")
        return None, given
    elif isinstance(given, (os.PathLike, bytes, np.ndarray, Tensor)) or (
        isinstance(given, Mapping) and not {"array", "bytes", "path"}.isdisjoint(given)
    ):
        return None, given
    raise InputError(f"expected a text, or a clip as a path, an array or a dict, got {ascii(given)[:80]}")
