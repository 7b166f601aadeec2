"""Classes known by more than a name: vectors from a few clips of each, and a yes-or-no threshold for each."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError


NONE = "none of these"
_LEAST_SCALE, _USUAL_SCALE = 0.25, 0.5  # the second is used where no class has two clips


def class_vectors(clips: Mapping[str, Tensor], texts: Tensor) -> dict[str, Tensor]:
    """A vector for each class that has clips. It can be compared with the vectors of names.

    Clips lie nearer to other clips than to any text, so the mean of a class's clips would beat every name. Three steps
    correct that. Subtract what the clips of all classes have in common. Add what the texts have in common. Scale the
    rest until the class's own clips are as near to it as to their text; each clip is left out of its own mean there.

    Args:
        clips: of two classes or more, (clips, dim) unit vectors of each.
        texts: (classes, dim) unit vectors of the prompts, in the same order.

    Returns:
        (dim,) float32 for each class; not unit vectors.
    """
    means = torch.stack([embeds.mean(dim=0) for embeds in clips.values()])
    common = F.normalize(means.mean(dim=0), dim=0)

    def rest(vectors: Tensor) -> Tensor:
        return vectors - (vectors @ common).unsqueeze(-1) * common

    def blend(text: Tensor, mean: Tensor) -> Tensor:
        return rest(F.normalize(text + F.normalize(mean, dim=-1), dim=-1))

    to_vectors, to_texts = [], []
    for embeds, text in zip(clips.values(), texts, strict=True):
        if len(embeds) > 1:
            to_vectors.append((blend(text, embeds.sum(dim=0) - embeds) * embeds).sum(dim=1))
            to_texts.append(embeds @ rest(text))
    scale = _USUAL_SCALE
    if to_vectors:
        scale = (torch.cat(to_texts).mean() / torch.cat(to_vectors).mean()).clamp(_LEAST_SCALE, 1)
    vectors = scale * blend(texts, means) + (texts @ common).mean() * common
    return dict(zip(clips, vectors, strict=True))


def highest_share(cosines: Tensor, share: float) -> Tensor:
    """(classes,) thresholds that this share of the clips reaches. No truth is known for the cosines (clips, classes).

    Raises:
        InputError: a share that is not between 0 and 1, or too few clips for it.
    """
    if not 0 < share < 1:
        raise InputError(f"share is above 0 and below 1, not {share}")
    if len(cosines) * share < 1:
        raise InputError(
            f"a share of {share:g} of {len(cosines)} clips is less than one clip: give more clips, or a larger share"
        )
    return torch.quantile(cosines.double(), 1 - share, dim=0).float()


def best_thresholds(cosines: Tensor, answers: Sequence[Mapping[str, bool]], labels: Sequence[str]) -> Tensor:
    """(classes,) thresholds with the highest F1 on clips that somebody judged.

    Args:
        cosines: (clips, classes).
        answers: for each clip, label -> whether it fits; labels that are missing were not judged.
        labels: the classes' names.

    Raises:
        InputError: answers and clips differ in number, a label is unknown, or no clip fits a label.
    """
    if len(answers) != len(cosines):
        raise InputError(f"{len(answers)} answers for {len(cosines)} clips: give one mapping per clip")
    if unknown := sorted({str(label) for answer in answers for label in answer} - set(labels)):
        raise InputError(f"answers name {unknown[0]!r}, which is not among the labels")
    return torch.stack([_best_threshold(cosines[:, n], answers, label) for n, label in enumerate(labels)])


def _best_threshold(cosines: Tensor, answers: Sequence[Mapping[str, bool]], label: str) -> Tensor:
    rows = [row for row, answer in enumerate(answers) if label in answer]
    fits = torch.tensor([bool(answers[row][label]) for row in rows])
    if not fits.any():
        raise InputError(f"no clip was judged to be {label!r}: one is needed at least")
    ordered, order = cosines[rows].sort(descending=True)
    hits = fits[order].cumsum(dim=0)
    scores = 2 * hits / (torch.arange(1, len(rows) + 1) + fits.sum())
    below = torch.cat([ordered[1:], ordered[-1:]])
    scores[ordered == below] = -1  # no threshold separates equal cosines
    scores[-1] = 2 * hits[-1] / (len(rows) + fits.sum())
    best = int(scores.argmax())
    return ordered[best] if best == len(rows) - 1 else (ordered[best] + below[best]) / 2


def answer_each(cosines: Tensor, thresholds: Tensor, scale: float, labels: Sequence[str]) -> list[dict[str, float]]:
    """For each clip, label -> how sure the model is that it fits (one half at the threshold); also for `NONE`.

    Args:
        cosines: (clips, classes).
        thresholds: (classes,) cosines.
        scale: the model multiplies cosines by it.
    """
    sure = torch.sigmoid(scale * (cosines - thresholds))
    return [dict(zip(labels, row.tolist(), strict=True)) | {NONE: 1 - row.max().item()} for row in sure]
