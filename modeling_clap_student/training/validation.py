"""Scores a model in training: on held-out pairs, or with any callable."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import broadcast
from datasets import Dataset
from torch import nn
from transformers import EvalPrediction

from ..checkpoints.embedding import embed_clips_of_pairs, embed_texts
from ..checkpoints.inference import for_inference
from ..data.skipping import SkippedClips
from ..data.texts import caption_key
from ..errors import InputError
from ..losses import contrastive_loss
from ..utils.processes import from_main_process
from ..utils.ranking import CUTOFFS, DIRECTIONS, retrieval


class ValidatingMixin:
    """For a `Trainer`: evaluation by callables that score the model itself.

    Attributes:
        validation: takes the model and returns its scores; None if `eval_dataset` is used.
    """

    validation: Callable[[nn.Module], dict[str, float]] | None = None

    def weights_to_score(self) -> AbstractContextManager:
        """Puts the weights to score into the model for a while; by default they are the trained ones."""
        return nullcontext()

    def validation_on(self, dataset) -> Callable[[nn.Module], dict[str, float]]:
        """Returns the callable that scores a model on a dataset; by default there is none."""
        raise InputError(f"give {type(self).__name__}(validation=…) to evaluate")

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Scores the model: on a dataset, on each dataset of a dict, or with the Trainer's own `validation`.

        Returns:
            the scores, each named `eval_…`; for a dict `eval_NAME_…`.

        Raises:
            InputError: there is nothing to evaluate on.
        """
        target = eval_dataset if eval_dataset is not None else self.validation or self.eval_dataset
        if isinstance(target, dict):
            parts = [self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}") for name, part in target.items()]
            return {name: value for part in parts for name, value in part.items()}
        validation = target if callable(target) else self.validation_on(target)
        with self.weights_to_score():
            scores = validation(self.accelerator.unwrap_model(self.model))
        scores = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(scores)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores


@dataclass(frozen=True)
class PairValidation:
    """Scores a model in training on pairs.

    Attributes:
        processor: the model's own.
        pairs: held-out pairs, as for `validate`.
        skipped: lists the clips that can't be read.
        batch_size: pairs in a batch of the loss.
        compute_metrics, progress: as for `validate`.
    """

    processor: object
    pairs: Dataset
    skipped: SkippedClips
    batch_size: int
    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None
    progress: bool = True

    def __call__(self, model) -> dict[str, float]:
        """Returns the result of `validate`."""
        return validate(
            model, self.processor, self.pairs, self.skipped, self.batch_size, self.compute_metrics, self.progress
        )

    def selects_by(self, metric: str) -> str:
        """For a model card: the score that selected the checkpoint."""
        return f"{metric} on {len(self.pairs)} held-out pairs"


def validate(
    model,
    processor,
    table: Dataset,
    skipped: SkippedClips,
    batch_size: int,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Scores a model on pairs. Each clip is embedded whole and once, each caption once. No random number is drawn.

    The loss is the plain contrastive one. Its positives are the Trainer's: the same clip or the same caption. Its
    batches are cut from one fixed, mixed order. In the original order, a clip's captions and clips of one kind stand
    together.

    All processes must call it together. Each embeds its share of the clips.

    Args:
        model: a `ClapStudentModel`, not wrapped, on its device. Its mode and weights do not change. The other
            processes get the main one's buffers, as they do before each step.
        processor: the model's own.
        table: pairs with `audio`, `audio_id` and `caption`.
        skipped: lists the clips that can't be read. Their pairs are left out.
        batch_size: pairs in a batch of the loss; the loss grows with it.
        compute_metrics: further scores, as in transformers, from `predictions`, the unit vectors (clips, dim) and
            (captions, dim), and `label_ids`, (captions,) the row of each caption's clip.
        progress: whether to show a bar.

    Returns:
        `loss`, the mean over the batches of two pairs or more; the results of `retrieval`; `recall`, the mean of its
            R@k, in [0, 1]; and the results of `compute_metrics`. They are equal in all processes.

    Raises:
        InputError: no clip can be read, or more are unreadable than `skipped` allows; there is no batch of two pairs;
            the model gives NaN.
    """
    _share_buffers(model)
    encoder = for_inference(model)
    description = "validating" if progress else None
    audio_embeds, clip_of_text = embed_clips_of_pairs(encoder, processor, table, skipped, description=description)
    readable = np.flatnonzero(clip_of_text >= 0)
    captions, clip_of_text = table.select(readable)["caption"][:], clip_of_text[readable]
    text_embeds = embed_texts(encoder, processor, captions)
    scales = model.logit_scales.detach().float().exp().cpu().reshape(-1)

    def scores() -> dict[str, float]:
        loss = _loss(audio_embeds, text_embeds, clip_of_text, captions, scales, batch_size)
        ranks = retrieval(audio_embeds, text_embeds, clip_of_text)
        recall = float(np.mean([ranks[f"{way}_R@{k}"] for way in DIRECTIONS for k in CUTOFFS]))
        return {"loss": loss, **ranks, "recall": recall}

    result = from_main_process(scores)
    if compute_metrics is not None:
        result |= compute_metrics(EvalPrediction(predictions=(audio_embeds, text_embeds), label_ids=clip_of_text))
    return result


def _share_buffers(model: nn.Module) -> None:
    """Since the last step began, each process's batch norms saw other clips. The main process's buffers are saved."""
    for buffer in model.buffers():
        broadcast(buffer)


def _loss(
    audio_embeds, text_embeds, clip_of_text, captions: list[str], scales: torch.Tensor, batch_size: int
) -> float:
    keys = np.unique([caption_key(caption) for caption in captions], return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(len(captions))
    losses = []
    for rows in np.split(order, range(batch_size, len(order), batch_size)):
        if len(rows) > 1:  # a single pair has no negatives
            clips, texts = clip_of_text[rows], keys[rows]
            positives = (clips[:, None] == clips) | (texts[:, None] == texts)
            cosines = torch.from_numpy(audio_embeds[clips] @ text_embeds[rows].T)
            logits = [scale * cosines for scale in scales]
            logits_per_text = logits[1].T if len(logits) == 2 else None
            losses.append(contrastive_loss(logits[0], torch.from_numpy(positives), logits_per_text).item())
    if not losses:
        raise InputError(f"{len(captions)} pairs in batches of {batch_size} can't be validated on: two are needed")
    return float(np.mean(losses))
