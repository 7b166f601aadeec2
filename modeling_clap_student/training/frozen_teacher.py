"""The teacher beside a student in training: it only gives embeddings."""

import copy

import torch
from torch import Tensor, nn

from ..checkpoints.embedding import text_vectors
from ..checkpoints.inference import for_inference
from ..encoding_clap_student import average_windows


_KEPT_TEXTS = 2**18  # with 1024 dimensions: a gigabyte


class FrozenTeacher:
    """A teacher that only gives embeddings.

    It is not an `nn.Module`, so no student can take it into its state dict, its `.train()` or its optimiser. It uses a
    copy for inference (batch norms folded, fewer multiplications). The model itself is not changed.

    Args:
        model: any that `load_checkpoint` returns, on the device where it will work.
        tokenizer: the model's own.
        dtype: the type to compute in, float32 or bfloat16.
    """

    def __init__(self, model: nn.Module, tokenizer, dtype: torch.dtype = torch.float32):
        frozen = for_inference(model, dtype)
        # A user's own model is not changed: it may be the one in training.
        self.model = (copy.deepcopy(model) if frozen is model else frozen).requires_grad_(False)
        self.tokenizer = tokenizer
        self._texts: dict[str, Tensor] = {}

    @torch.no_grad()
    def embed_audio(self, audio: dict[str, Tensor], num_windows: Tensor | None = None) -> Tensor:
        """Embeds crops, in eval mode, whatever was done to the model in between.

        Args:
            audio: arguments of `get_audio_features`.
            num_windows: (clips,) consecutive windows of each clip; one each by default.

        Returns:
            (clips, dim) float32, normalised.
        """
        embeds = self.model.eval().get_audio_features(**audio).pooler_output.float()
        return embeds if num_windows is None else average_windows(embeds, num_windows)

    def embed_texts(self, captions: list[str]) -> Tensor:
        """Embeds captions, each once per run. The same caption always gets the same vector, to the bit.

        Returns:
            (captions, dim) float32, normalised.
        """
        known_vectors = {caption: self._texts[caption] for caption in captions if caption in self._texts}
        new = [caption for caption in dict.fromkeys(captions) if caption not in known_vectors]
        if new:
            vectors = text_vectors(self.model.eval(), self.tokenizer, new, batch_size=len(captions))
            known_vectors |= zip(new, vectors, strict=True)
            if len(self._texts) < _KEPT_TEXTS:
                self._texts |= known_vectors
        return torch.stack([known_vectors[caption] for caption in captions]).to(self.model.device)


def same_front_end(teacher: nn.Module, student: nn.Module) -> bool:
    """Whether both make the same spectrogram, to the bit, so that one is enough."""
    theirs, ours = getattr(teacher, "front_end", None), student.front_end
    return (
        type(theirs) is type(ours)
        and theirs.config.hop_length == ours.config.hop_length
        and theirs.window.shape == ours.window.shape
        and theirs.mel_filters.shape == ours.mel_filters.shape
        and bool((theirs.window == ours.window).all() and (theirs.mel_filters == ours.mel_filters).all())
    )
