"""Keeps a model's knowledge of order while it learns something else."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..processing_clap_student import tokenize
from ..training.frozen_teacher import FrozenTeacher
from ..training.optimization import batch_norms
from .narration import Heard, Narrator


def knows_order(model: nn.Module) -> bool:
    """Whether a model has a pooling over time that tells order, and has learnt to use it."""
    pooling = getattr(getattr(model, "audio_model", None), "pooling", None)
    output = getattr(pooling, "output", None)
    return output is not None and bool(output.detach().count_nonzero())


class OrderRetention:
    """λ · mean ‖z − z₀‖² over scenes and captions that tell an order; z₀ are the start's vectors of them.

    Scenes are made of a batch's own crops: the beginning of one and the end of another. Captions name two of the
    classes with which the model learnt order, in either order, in the words of that training. Scenes and captions need
    not belong together: soft targets need no truth. Scenes do not enter the statistics of batch norms.

    Args:
        start: the model before training; it is copied.
        tokenizer: its own.
        class_names: at least two.
        weight: λ.
        hold_out: whether the words are those of `--hold_out_connectives`.
        seed: with the number of the step, it decides the scenes and captions.
    """

    share = 1 / 4  # of a batch: scenes, and as many captions in both orders

    def __init__(
        self, start: nn.Module, tokenizer, class_names: Sequence[str], weight: float, hold_out: bool, seed: int
    ):
        if len(class_names) < 2:
            raise InputError(f"--retain_order needs two sounds to say an order of, and knows {len(class_names)}")
        self.start, self.tokenizer = FrozenTeacher(start, tokenizer), tokenizer
        self.class_names, self.weight, self.seed = list(class_names), weight, seed
        self.narrator = Narrator(hold_out, paraphrase_from=0.0, positions=0.0, names=0.0)

    def __call__(self, model: nn.Module, spectrograms: Tensor, step: int) -> Tensor:
        """A scalar, of a batch's spectrograms (batch, frames, mel bins)."""
        self.start.model.to(spectrograms.device)
        rng = np.random.default_rng([self.seed, step])
        count = max(2, round(self.share * len(spectrograms)))
        scenes, captions = self._scenes(spectrograms, count, rng), self._captions(count, rng)
        tokens = tokenize(self.tokenizer, captions).to(spectrograms.device)
        training = [norm for norm in batch_norms(model) if norm.training]
        for norm in training:
            norm.eval()
        inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        audio = model.get_audio_features(input_features=scenes).pooler_output
        text = model.get_text_features(**inputs).pooler_output
        for norm in training:
            norm.train()
        drift = (audio - self.start.embed_audio({"input_features": scenes})).square().sum(dim=1).mean()
        drift = drift + (text - self.start.embed_texts(captions)).square().sum(dim=1).mean()
        return self.weight * drift / 2

    @staticmethod
    def _scenes(spectrograms: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        order = rng.permutation(len(spectrograms))
        first, second = spectrograms[order[:count]], spectrograms[np.roll(order, 1)[:count]]
        frames = spectrograms.shape[1]
        borders = torch.from_numpy(rng.uniform(0.35, 0.65, count) * frames).to(spectrograms.device)
        is_first = torch.arange(frames, device=spectrograms.device) < borders[:, None]
        return torch.where(is_first[..., None], first, second)

    def _captions(self, count: int, rng: np.random.Generator) -> list[str]:
        captions = []
        for _ in range(count):
            pair = rng.choice(len(self.class_names), 2, replace=False)
            classes = tuple(self.class_names[number] for number in pair)
            ways = [Heard(classes), Heard(classes[::-1])]
            tell = self.narrator.narrate if rng.random() < 0.5 else self.narrator.paraphrase
            captions += [caption for caption, _ in tell(ways, 1.0, [int(rng.integers(2**32))])]
        return captions
