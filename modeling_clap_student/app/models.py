"""The models on the page, side by side: clips and texts to vectors, and what sounds of no class at all."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch.utils.flop_counter import FlopCounterMode

from ..checkpoints.embedding import embed_clips, text_vectors
from ..checkpoints.inference import for_inference
from ..checkpoints.loading import load_checkpoint
from ..classes_clap_student import NONE, answer_each, highest_share
from ..classification_clap_student import PROMPT
from ..data.skipping import SkippedClips
from ..encoding_clap_student import iter_embeddings
from ..errors import InputError
from ..hub_clap_student import fingerprint
from ..processing_clap_student import label_text
from ..utils.console import quiet


STUDENT, TEACHER = "Student", "Teacher"
FITS_OF_A_HUNDRED = 5  # clips of which each class may be said: what lies below fits it no better than any clip does
_QUICK = 0.25e9  # multiplications: a tower with no more of them hears a window in some 15 ms, on one core
_TEXTS = 4096  # that are remembered
_torch = threading.Lock()  # one clip at a time: two would only wait for each other's cores


@dataclass(frozen=True)
class Answer:
    """What a model says of a clip, or of a part of it.

    Attributes:
        shares: label -> probability, that of `classify`.
        none: how sure the model is that no label fits, above one half where none reaches its threshold; None where
            nothing is known to compare with.
    """

    shares: Mapping[str, float]
    none: float | None


class Model:
    """A model and what it is called on the page.

    Args:
        role: `STUDENT` or `TEACHER`, in whose colour it is drawn.
        name: of its checkpoint.
        model, processor: what `load_checkpoint` returned.
    """

    def __init__(self, role: str, name: str, model, processor):
        if processor is None:
            raise InputError(f"{name} is an audio tower alone: it knows no words")
        self.role, self.name, self.processor = role, name, processor
        self.fingerprint, self.config = fingerprint(model), model.config
        self.model = for_inference(model)
        self.usual: torch.Tensor | None = None  # (clips, dim) of clips as they come
        self._texts: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.is_quick = self._multiplications() <= _QUICK  # it may hear many windows of a clip

    @property
    def record(self) -> dict:
        return getattr(self.config, "record", None) or {}

    @property
    def window_seconds(self) -> float:
        extractor = self.processor.feature_extractor
        return extractor.window_samples / extractor.sampling_rate

    def _multiplications(self) -> float:
        """That a window takes. Counted, not timed: a model is treated alike on every machine."""
        silence = np.zeros(self.processor.feature_extractor.window_samples, np.float32)
        with FlopCounterMode(display=False) as counter:
            list(self.clips([self.processor.feature_extractor.windows(silence)], 1))
        return counter.get_total_flops() / 2

    @property
    def has_frames(self) -> bool:
        """Whether `frames` and `pool` can be called."""
        return bool(getattr(self.model, "poolings", ()))

    @property
    def frame_seconds(self) -> float:
        """How much of a recording is one of its frames: each convolution block but the last halves their number."""
        tower = self.config.audio_config
        return 2 ** (tower.num_blocks - 1) * tower.hop_length / self.processor.feature_extractor.sampling_rate

    @property
    def scale(self) -> float:
        return float(self.model.logit_scale.detach().float().cpu().exp())

    def texts(self, texts: list[str]) -> torch.Tensor:
        """(texts, dim) unit vectors; one that was asked for lately is not embedded again."""
        with _torch:
            if new := [text for text in dict.fromkeys(texts) if text not in self._texts]:
                vectors = text_vectors(self.model, self.processor.tokenizer, new, batch_size=len(new))
                self._texts.update(zip(new, vectors, strict=True))
            found = torch.stack([self._texts[text] for text in texts])
            for text in texts:
                self._texts.move_to_end(text)
            while len(self._texts) > _TEXTS:
                self._texts.popitem(last=False)
        return found

    def labels(self, labels: list[str], prompt: str = PROMPT) -> torch.Tensor:
        """(labels, dim), as `classify` has them."""
        return self.texts([prompt.replace("{}", label_text(label)) for label in labels])

    def clips(self, clips: Iterable[Iterable[np.ndarray]], batch_size: int) -> Iterator[torch.Tensor]:
        """(dim,) of each clip, given as the windows of its feature extractor, as soon as it is known."""
        clips = iter_embeddings(self.model, clips, batch_size)
        while True:
            with _torch:  # others have their turn between two of a long recording
                vector = next(clips, None)
            if vector is None:
                return
            yield vector

    @torch.no_grad()
    def frames(self, windows: Iterable[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Of each window of a clip its frames (frames, hidden size), and its vector (dim,)."""
        for window in windows:
            with _torch:
                outputs = self.model.get_audio_features(torch.from_numpy(window)[None].to(self.model.device))
            yield outputs.last_hidden_state[0].float(), outputs.pooler_output[0].float().cpu()

    @torch.no_grad()
    def pool(self, frames: torch.Tensor) -> torch.Tensor:
        """(parts, frames, hidden size) -> (parts, dim) unit vectors."""
        with _torch:
            return self.model.get_audio_features(input_frames=frames).pooler_output.float().cpu()

    def answers(self, clips: torch.Tensor, labels: list[str], prompt: str) -> list[Answer]:
        """(clips, dim) unit vectors -> what `classify` says of each, and whether any label fits."""
        texts = self.labels(labels, prompt)
        cosines = clips @ texts.T
        shares = self.shares(clips, labels, prompt).tolist()
        none = [None] * len(clips)
        if self.usual is not None:
            cuts = highest_share(self.usual @ texts.T, FITS_OF_A_HUNDRED / 100)
            none = [row[NONE] for row in answer_each(cosines, cuts, self.scale, labels)]
        return [Answer(dict(zip(labels, row, strict=True)), no) for row, no in zip(shares, none, strict=True)]

    def shares(self, clips: torch.Tensor, labels: list[str], prompt: str) -> torch.Tensor:
        """(clips, dim) unit vectors -> (clips, labels) probabilities, those of `classify`."""
        return (self.scale * clips @ self.labels(labels, prompt).T).softmax(dim=1)

    def hear_usual(self, clips: Dataset, folder: Path) -> None:
        """Learns how near clips as they come lie to anything, from some of them; too few, and `none` stays unknown."""
        skipped = SkippedClips(folder / f"{self.role}.csv", 1)
        try:
            with quiet(progress=False), _torch:
                vectors, _ = embed_clips(self.model, self.processor, clips, skipped, description=None)
        except InputError:  # none of them can be read
            return
        self.set_usual(vectors)

    def set_usual(self, vectors: np.ndarray) -> None:
        if len(vectors) * FITS_OF_A_HUNDRED >= 100:
            self.usual = torch.from_numpy(np.ascontiguousarray(vectors))


def open_models(model: str, baseline: str | None) -> list[Model]:
    """The student, and the teacher where there is one.

    Raises:
        InputError: no such checkpoint.
    """
    names = [(STUDENT, model), *([(TEACHER, baseline)] if baseline else [])]
    return [Model(role, name, *load_checkpoint(name)) for role, name in names]
