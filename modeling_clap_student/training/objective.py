"""The objective over the batch of all processes, with gradients, from embeddings and facts about the pairs."""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..losses import contrastive_loss, soft_contrastive_loss, soft_targets


def row_counts(rows: int, device: torch.device) -> list[int] | None:
    """The number of rows in each process, in rank order; None in a single process."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    counts = torch.empty(dist.get_world_size(), dtype=torch.int64, device=device)
    dist.all_gather_into_tensor(counts, torch.tensor([rows], device=device))
    return counts.tolist()


def gather(tensor: Tensor, counts: list[int] | None) -> Tensor:
    """(local, ...) -> (all processes' rows in rank order, ...); the tensor itself in a single process.

    The gradient flows back to every process. Each process computes the same loss over the global batch. The gather's
    backward sums the gradient over the N processes, and DistributedDataParallel divides it by N. Together they give
    the gradient of one process with the whole batch. A gather without gradient does not, and neither do negatives of
    one process only.

    Args:
        tensor: this process's part; all processes call this together.
        counts: `row_counts` of the batch. A process may have fewer rows than another, or none.
    """
    return tensor if counts is None else _Gather.apply(tensor, counts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: Tensor, counts: list[int]) -> Tensor:
        ctx.counts, longest = counts, max(counts)
        # Collectives need equal parts.
        padded = F.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, longest - len(tensor))).contiguous()
        parts = padded.new_empty(len(counts) * longest, *tensor.shape[1:])
        dist.all_gather_into_tensor(parts, padded)
        if min(counts) == longest:
            return parts
        return torch.cat([part[:count] for part, count in zip(parts.split(longest), counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.split(ctx.counts)[dist.get_rank()], None


def global_loss(
    audio_embeds: Tensor,
    text_embeds: Tensor,
    logit_scales: Tensor,
    facts: dict[str, Tensor],
    args,
    distillation: Callable[..., Tensor] | None = None,
) -> Tensor:
    """L = ½ [KL(yᵃ ‖ softmax(C)) + KL(yᵗ ‖ softmax(Cᵀ))] over the pairs of all processes; the same in each of them.

    yᵃ comes from the teacher's audio–audio and yᵗ from its text–text similarities; without a teacher both are the
    pairing, and the loss is contrastive. Pairs of one clip, or of one caption, are positives of each other.

    Args:
        audio_embeds: (pairs, dim) normalised, of this process.
        text_embeds: (pairs, dim) likewise.
        logit_scales: logarithms: a scalar, or (2,), of the rows of C and of Cᵀ.
        facts: for each pair `audio_key` and `caption_key`, int64, equal for the same clip or caption; with a teacher
            its embeddings `teacher_audio` and `teacher_text`; for mixed clips `partner`, the row of this process that
            was mixed in, and `own_share`, the share of the row's own clip.
        args: `ClapStudentTrainingArguments`.
        distillation: a further term, computed from the embeddings and the teacher's.
    """
    counts = row_counts(len(audio_embeds), audio_embeds.device)
    if "partner" in facts and counts is not None:
        facts = facts | {"partner": facts["partner"] + sum(counts[: dist.get_rank()])}
    facts = {name: gather(values, counts) for name, values in facts.items()}
    # In bfloat16, logits near 15 have steps of 1/16.
    with torch.autocast(audio_embeds.device.type, enabled=False):
        exact = torch.promote_types(audio_embeds.dtype, torch.float32)
        audio, text = (gather(embeds, counts).to(exact) for embeds in (audio_embeds, text_embeds))
        scales = logit_scales.to(exact).exp().reshape(-1)
        logits = scales[0] * audio @ text.T
        logits_per_text = scales[1] * text @ audio.T if len(scales) == 2 else None
    positives = belong_together(facts["audio_key"], facts["caption_key"])
    if "teacher_audio" not in facts and "partner" not in facts:
        return contrastive_loss(logits, positives, logits_per_text)
    audio_targets, text_targets = (_targets(facts.get(name), positives, args) for name in _TEACHER)
    teacher_audio = facts.get("teacher_audio")
    if "partner" in facts:
        mixing = mixing_matrix(facts["partner"], facts["own_share"].to(audio_targets.dtype))
        audio_targets, text_targets = mixing @ audio_targets, text_targets @ mixing.T
        teacher_audio = teacher_audio if teacher_audio is None else mixing.to(teacher_audio.dtype) @ teacher_audio
    loss = soft_contrastive_loss(logits, audio_targets, text_targets, logits_per_text)
    return loss if distillation is None else loss + distillation(audio, text, teacher_audio, facts["teacher_text"])


_TEACHER = ("teacher_audio", "teacher_text")


def belong_together(audio_key: Tensor, caption_key: Tensor) -> Tensor:
    """(B, B) bool: true for the same clip or the same caption."""
    return (audio_key[:, None] == audio_key) | (caption_key[:, None] == caption_key)


def _targets(embeds: Tensor | None, positives: Tensor, args) -> Tensor:
    if embeds is None:
        return soft_targets(positives.float(), 0.0, positives=positives)
    return soft_targets(
        embeds @ embeds.T,
        args.soft_label_weight,
        args.soft_label_normalization,
        args.soft_label_temperature,
        positives,
    )


def mixing_matrix(partner: Tensor, own_share: Tensor) -> Tensor:
    """(B, B) with row i's share of clip i on the diagonal and the rest in its partner's column.

    Clip i sounds as row i says, so its targets are the same mixture of the clips' targets. A caption's mass on a clip
    goes to the mixtures that hold the clip. If partners are a permutation and a batch has one share, columns sum to 1
    like rows, and targets stay distributions.

    Source: Zhang et al. 2018 (mixup), arXiv 1710.09412, for pairs of inputs and targets.
    """
    own = torch.diag(own_share)
    return own.index_put((torch.arange(len(partner), device=partner.device), partner), 1 - own_share, accumulate=True)
