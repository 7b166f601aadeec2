"""How well a model in training does on what was held out: pairs, labelled clips, scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from accelerate.utils import broadcast
from datasets import Dataset
from torch import nn

from ..checkpoints.embedding import embed_clips_of_pairs, embed_texts
from ..checkpoints.inference import for_inference
from ..data.benchmarks import Benchmark
from ..data.captions import caption_key
from ..data.skipping import SkippedClips
from ..errors import InputError
from ..losses import contrastive_loss
from ..temporal.captions import BEFORE
from ..temporal.scenes import Scene, SceneRenderer
from ..utils.processes import from_main_process
from .metrics import CUTOFFS, DIRECTIONS, retrieval
from .zero_shot import zero_shot
from .zste.evaluation import quick_scores


@dataclass(frozen=True)
class Validation:
    """What scores a model in training, for `ClapStudentTrainer(validation=…)`.

    Attributes:
        processor: the model's own.
        pairs: held out, as for `validate`.
        skipped: where clips that can't be read are listed.
        batch_size: pairs in a batch of the loss.
        benchmark: labelled clips whose zero-shot accuracy is one more score, where that is to choose the checkpoint.
    """

    processor: object
    pairs: Dataset
    skipped: SkippedClips
    batch_size: int
    benchmark: Benchmark | None = None

    def __call__(self, model) -> dict[str, float]:
        """What `validate` returns, and `accuracy` with a benchmark."""
        scores = validate(model, self.processor, self.pairs, self.skipped, self.batch_size)
        if self.benchmark is not None:
            scores["accuracy"] = zero_shot(for_inference(model), self.processor, self.benchmark, self.skipped).accuracy
        return scores

    def selects_by(self, metric: str) -> str:
        """For a model card: what chose the checkpoint."""
        if self.benchmark is not None and metric.endswith("accuracy"):
            return f"zero-shot accuracy on {self.benchmark.name}, which is therefore no unbiased estimate"
        return f"{metric} on {len(self.pairs)} held-out pairs"


def validate(model, processor, table: Dataset, skipped: SkippedClips, batch_size: int) -> dict[str, float]:
    """Scores a model on pairs, each clip embedded whole and once, each caption once; no random number is drawn.

    The loss is the plain contrastive one, whose positives are the Trainer's: the same clip or the same caption. Its
    batches are cut from one fixed order, which is mixed: as they come, a clip's captions stand together, and so do
    clips of one kind.

    All processes must call alike; each embeds its share of the clips.

    Args:
        model: a `ClapStudentModel`, not wrapped, on its device. It keeps its mode and weights; the other processes get
            the main one's buffers, as they do before each step.
        processor: the model's own.
        table: pairs with `audio`, `audio_id` and `caption`.
        skipped: where clips that can't be read are listed; their pairs are left out.
        batch_size: pairs in a batch of the loss, which grows with it.

    Returns:
        `loss`, the mean over the batches of two pairs or more; what `retrieval` returns; `recall`, the mean of its
        R@k, in [0, 1]. The same in all processes.

    Raises:
        InputError: no clip can be read, or more can't than `skipped` allows; no batch of two pairs; a model that
            gives NaN.
    """
    _share_buffers(model)
    encoder = for_inference(model)
    audio_embeds, clip_of_text = embed_clips_of_pairs(encoder, processor, table, skipped, description="validating")
    readable = np.flatnonzero(clip_of_text >= 0)
    captions, clip_of_text = table.select(readable)["caption"][:], clip_of_text[readable]
    text_embeds = embed_texts(encoder, processor, captions)
    scale = model.logit_scale.detach().float().exp().cpu()

    def scores() -> dict[str, float]:
        loss = _loss(audio_embeds, text_embeds, clip_of_text, captions, scale, batch_size)
        found = retrieval(audio_embeds, text_embeds, clip_of_text)
        recall = float(np.mean([found[f"{way}_R@{k}"] for way in DIRECTIONS for k in CUTOFFS]))
        return {"loss": loss, **found, "recall": recall}

    return from_main_process(scores)


def _share_buffers(model: nn.Module) -> None:
    """Since the last step began, each process's batch norms saw other clips; those of the main one are saved."""
    for buffer in model.buffers():
        broadcast(buffer)


def _loss(audio_embeds, text_embeds, clip_of_text, captions: list[str], scale: torch.Tensor, batch_size: int) -> float:
    keys = np.unique([caption_key(caption) for caption in captions], return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(len(captions))
    losses = []
    for some in np.split(order, range(batch_size, len(order), batch_size)):
        if len(some) > 1:  # a pair alone has no negatives
            clips, texts = clip_of_text[some], keys[some]
            positives = (clips[:, None] == clips) | (texts[:, None] == texts)
            cosines = torch.from_numpy(audio_embeds[clips] @ text_embeds[some].T)
            losses.append(contrastive_loss(scale * cosines, torch.from_numpy(positives)).item())
    if not losses:
        raise InputError(f"{len(captions)} pairs in batches of {batch_size} can't be validated on: two are needed")
    return float(np.mean(losses))


@dataclass(frozen=True)
class TemporalValidation:
    """What scores a model, for `TemporalTrainer(validation=…)`.

    Attributes:
        processor: the model's own.
        singles: labelled clips that training does not hear.
        scenes: of these clips.
        renderer: makes their waveforms.
        skipped: where clips that can't be read are listed.
        connectives: the words for the order, a scene each in turn: those that training uses.
    """

    processor: object
    singles: Benchmark
    scenes: list[Scene]
    renderer: SceneRenderer
    skipped: SkippedClips
    connectives: Sequence[str] = (BEFORE,)

    def __call__(self, model) -> dict[str, float]:
        """`accuracy_1a` of single sounds, `order`, how often the right order of two beats the wrong one, and
        `selection`, √(accuracy_1a · max(0, order - ½)), all within [0, 1].

        Source of the last: Bagad et al. 2023 (TACT), arXiv 2301.02074, with accuracy in place of retrieval.
        """
        encoder = for_inference(model)
        scores = quick_scores(
            encoder,
            self.processor,
            self.scenes,
            self.renderer,
            self.singles,
            self.skipped,
            connectives=self.connectives,
        )
        better = max(0.0, scores["order"] - 0.5)
        return {**scores, "selection": sqrt(scores["accuracy_1a"] * better)}
