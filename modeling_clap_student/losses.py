"""The contrastive objectives, as pure functions of a matrix of logits.

Rows of `logits_per_audio` are clips, columns are captions: C = exp(logit_scale) A Zᵀ. Each loss is the mean of an
audio→text half, over the rows of C, and a text→audio half, over the rows of Cᵀ.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


NORMALIZATIONS = ("l1", "softmax", "none")


def _check_square(name: str, matrix: Tensor, like: Tensor | None = None) -> None:
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be a square matrix (batch, batch), got {tuple(matrix.shape)}")
    if like is not None and matrix.shape != like.shape:
        raise ValueError(f"{name} has shape {tuple(matrix.shape)}, expected {tuple(like.shape)}")


def _positive_rows(positives: Tensor | None, like: Tensor) -> Tensor:
    """Target rows that share their mass equally among the positives: eᵢ where a row's only positive is itself."""
    if positives is None:
        return torch.eye(like.shape[0], dtype=like.dtype, device=like.device)
    _check_square("positives", positives, like)
    if not positives.diagonal().all():
        raise ValueError("positives must hold each row's own pair: its diagonal must be true")
    mass = positives.to(like.dtype)
    return mass / mass.sum(dim=1, keepdim=True)


def contrastive_loss(
    logits_per_audio: Tensor, positives: Tensor | None = None, logits_per_text: Tensor | None = None
) -> Tensor:
    """Symmetric contrastive loss, L = ½ [CE(C, I) + CE(Cᵀ, I)], over **both** directions.

    Args:
        logits_per_audio: (B, B) scaled similarities, clips × captions.
        positives: (B, B) bool, true where clip i and caption j belong together although i ≠ j (two captions of one
            clip, one caption on two clips). The row's target is shared equally among its positives. The diagonal by
            default.
        logits_per_text: (B, B), captions × clips, where they have a scale of their own; Cᵀ by default.

    Returns:
        a scalar.

    Raises:
        ValueError: a matrix that is not square, or positives that lack the diagonal.

    Source: Radford et al. 2021 (CLIP), Elizalde et al. 2022 (CLAP).
    """
    logits_per_text = _text_logits(logits_per_audio, logits_per_text)
    audio_rows = _positive_rows(positives, logits_per_audio)
    text_rows = _positive_rows(None if positives is None else positives.T, logits_per_audio)
    return (F.cross_entropy(logits_per_audio, audio_rows) + F.cross_entropy(logits_per_text, text_rows)) / 2


def _text_logits(logits_per_audio: Tensor, logits_per_text: Tensor | None) -> Tensor:
    _check_square("logits_per_audio", logits_per_audio)
    if logits_per_text is None:
        return logits_per_audio.T
    _check_square("logits_per_text", logits_per_text, logits_per_audio)
    return logits_per_text


def soft_targets(
    similarity: Tensor,
    weight: float,
    normalization: str = "l1",
    temperature: float | None = None,
    positives: Tensor | None = None,
) -> Tensor:
    """Rows yᵢ = (1 − β) eᵢ + β n(S)ᵢ that mix the pairing with the teacher's intra-modal similarity.

    The paper does not say what n is. `"l1"` clamps the cosines at 0 and divides each row by its sum. `"softmax"` is a
    softmax of S / temperature. `"none"` is the authors' code made finite: the raw cosines, clamped at 0. Its rows sum
    to more than 1, and the sum grows with the batch.

    Args:
        similarity: (B, B) cosines among the teacher's audio embeddings (for the audio→text rows) or among its text
            embeddings (for the text→audio rows).
        weight: β in [0, 1]; 0 gives the plain contrastive targets.
        normalization: one of `NORMALIZATIONS`.
        temperature: of the softmax; required by `"softmax"`, refused by the others.
        positives: (B, B) bool as in `contrastive_loss`; replaces eᵢ by the shared row.

    Returns:
        (B, B) targets, in the similarity's dtype. Rows sum to 1 for `"l1"` and `"softmax"`.

    Raises:
        ValueError: β outside [0, 1], an unknown normalization, or a temperature where none belongs.

    Source: Wang et al. 2023, arXiv 2305.01864, section 2.3.
    """
    _check_square("similarity", similarity)
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie in [0, 1], got {weight}")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"unknown normalization {normalization!r}: choose one of {', '.join(NORMALIZATIONS)}")
    if (temperature is not None) != (normalization == "softmax"):
        raise ValueError("temperature is for normalization='softmax', which needs it")
    if temperature is not None and temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")

    if temperature is not None:
        soft = torch.softmax(similarity / temperature, dim=1)
    else:
        # One negative cosine would make y log y undefined and the loss NaN.
        soft = similarity.clamp(min=0)
        if normalization == "l1":
            # The diagonal of a cosine matrix is 1. So only an embedding of zeros can give a row of zeros.
            soft = soft / soft.sum(dim=1, keepdim=True).clamp(min=torch.finfo(soft.dtype).tiny)
    return (1 - weight) * _positive_rows(positives, similarity) + weight * soft


def soft_contrastive_loss(
    logits_per_audio: Tensor, audio_targets: Tensor, text_targets: Tensor, logits_per_text: Tensor | None = None
) -> Tensor:
    """L = ½ [KL(yᵃ ‖ softmax(C)) + KL(yᵗ ‖ softmax(Cᵀ))], mean over the batch.

    Args:
        logits_per_audio: (B, B) scaled similarities of the student, clips × captions.
        audio_targets: (B, B) targets of C's rows, from the teacher's audio–audio similarity.
        text_targets: (B, B) targets of Cᵀ's rows, from its text–text similarity.
        logits_per_text: (B, B), captions × clips, where they have a scale of their own; Cᵀ by default.

    Returns:
        a scalar; with one-hot targets, `contrastive_loss`.

    Raises:
        ValueError: shapes that differ, or negative targets.

    Source: Wang et al. 2023, arXiv 2305.01864, section 2.3.
    """
    logits_per_text = _text_logits(logits_per_audio, logits_per_text)
    for name, targets in (("audio_targets", audio_targets), ("text_targets", text_targets)):
        _check_square(name, targets, logits_per_audio)
        if (targets < 0).any():
            raise ValueError(f"{name} holds negative values: clamp the similarities first")
    audio_half = _kl_divergence(audio_targets, logits_per_audio)
    text_half = _kl_divergence(text_targets, logits_per_text)
    return (audio_half + text_half) / 2


def _kl_divergence(targets: Tensor, logits: Tensor) -> Tensor:
    # kl_div takes 0 log 0 as 0.
    return F.kl_div(F.log_softmax(logits, dim=1), targets.to(logits.dtype), reduction="batchmean")


def temporal_contrastive_loss(
    logits_per_audio: Tensor,
    num_blocks: int,
    alpha_same: float | tuple[float, float] = 1.0,
    alpha_cross: float | tuple[float, float] = 1.0,
    block_weights: Sequence[float] | None = None,
    keys: Tensor | None = None,
    facts: Tensor | None = None,
) -> Tensor:
    """Temporal contrastive loss (TNCE) over scenes that hold the same sounds in another order.

    Rows and columns are ordered block by block: all forward scenes, then all reversed ones, and with three blocks then
    all overlays. Or the blocks hold single sounds and pairs of sounds. Row i of one block and row i of another hold
    the same sounds. With S the logits, each row's loss is −Sᵢᵢ + log Σⱼ Wᵢⱼ exp(Sᵢⱼ). W is 1 within a block. Between
    blocks it is α_same for the same sounds and α_cross for others. L = Σᵢ bᵢ (rowᵢ + columnᵢ) / (2 Σᵢ bᵢ).

    Args:
        logits_per_audio: (num_blocks · B, num_blocks · B) scaled similarities, scenes × captions.
        num_blocks: 1, 2 or 3.
        alpha_same, alpha_cross: weights ≥ 0 of the negatives from other blocks; 0 leaves them out. A pair of numbers
            means (between forward and reversed, with the overlays).
        block_weights: weight b ≥ 0 of each block's rows; 1 each by default.
        keys: (num_blocks · B,) whole numbers, equal for captions that say the same: such pairs are no negatives.
        facts: (num_blocks · B, any), the keys of all that is true of each scene. A caption that states one of them is
            no negative of the scene. By default only its own caption's key.

    Returns:
        a scalar.

    Raises:
        ValueError: a matrix that is not square or not made of blocks, negative weights, or keys of another shape.

    Source: Bagad et al. 2023 (TACT), arXiv 2301.02074, with a third block after Sinha et al. 2024 (TeminAL),
    arXiv 2408.09269; the masking by keys is ours.
    """
    _check_square("logits_per_audio", logits_per_audio)
    rows = len(logits_per_audio)
    if num_blocks not in (1, 2, 3) or rows == 0 or rows % num_blocks:
        raise ValueError(f"{rows} rows are not made of {num_blocks} equal blocks: 1, 2 or 3 are possible")
    weights = _block_weights(block_weights, num_blocks).to(logits_per_audio).repeat_interleave(rows // num_blocks)
    negatives = _negative_weights(num_blocks, rows // num_blocks, alpha_same, alpha_cross).to(logits_per_audio)
    if keys is not None:
        facts = keys[:, None] if facts is None else facts
        if keys.shape != (rows,) or facts.shape[:-1] != (rows,):
            raise ValueError(f"keys must have shape ({rows},), got {tuple(keys.shape)}; facts {tuple(facts.shape)}")
        is_true = (facts[:, None, :] == keys[None, :, None]).any(dim=2)
        negatives = negatives.masked_fill(is_true & ~torch.eye(rows, dtype=torch.bool, device=keys.device), 0)
    # A weight of 0 becomes −inf, which leaves the pair out, to the last bit. The diagonal is never left out.
    logits = logits_per_audio + negatives.log()
    own = logits_per_audio.diagonal()
    both = logits.logsumexp(dim=1) + logits.logsumexp(dim=0) - 2 * own
    return (weights * both).sum() / (2 * weights.sum())


def _block_weights(values: Sequence[float] | None, num_blocks: int) -> Tensor:
    weights = torch.ones(num_blocks) if values is None else torch.tensor(values, dtype=torch.float64)
    if weights.shape != (num_blocks,) or (weights < 0).any() or weights.sum() == 0:
        raise ValueError(f"block_weights must be {num_blocks} numbers ≥ 0, not all 0, got {values}")
    return weights


def _negative_weights(num_blocks: int, size: int, alpha_same, alpha_cross) -> Tensor:
    """W, (num_blocks · size, num_blocks · size) float64."""
    same, cross = (_as_pair(name, alpha) for name, alpha in (("alpha_same", alpha_same), ("alpha_cross", alpha_cross)))
    block = torch.arange(num_blocks).repeat_interleave(size)
    item = torch.arange(size).repeat(num_blocks)
    overlay = (torch.maximum(block[:, None], block) == 2).long()  # selects one of a pair of numbers
    weights = torch.where(item[:, None] == item, same[overlay], cross[overlay])
    return torch.where(block[:, None] == block, torch.ones((), dtype=torch.float64), weights)


def _as_pair(name: str, alpha: float | tuple[float, float]) -> Tensor:
    pair = torch.tensor(alpha if isinstance(alpha, (tuple, list)) else (alpha, alpha), dtype=torch.float64)
    if pair.shape != (2,) or (pair < 0).any():
        raise ValueError(f"{name} must be a number ≥ 0, or two of them, got {alpha}")
    return pair
