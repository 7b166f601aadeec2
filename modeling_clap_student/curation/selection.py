"""Which captions fit the user's domain: those near the prompt of a class, above a threshold."""

from dataclasses import dataclass

import numpy as np

from ..processing_clap_student import label_text
from .arguments import Threshold


PROMPT = "this is a sound of "


def label_prompts(class_names: list[str], prompt: str = PROMPT) -> list[str]:
    """The class names as sentences."""
    return [prompt + label_text(name) for name in class_names]


@dataclass(frozen=True)
class SelectedCaptions:
    """Captions that fit a domain.

    Attributes:
        indices: (selected,) which of the captions, ascending.
        labels: (selected,) index of the nearest class.
        similarities: (selected,) float32 cosine to that class's prompt.
        threshold: the cosine that decided.
        highest: the highest cosine of any caption.
    """

    indices: np.ndarray
    labels: np.ndarray
    similarities: np.ndarray
    threshold: float
    highest: float


def select_captions(caption_embeds: np.ndarray, label_embeds: np.ndarray, threshold: Threshold) -> SelectedCaptions:
    """Keeps the captions whose nearest class prompt is at least as similar as the threshold.

    Args:
        caption_embeds: (captions, dim) unit vectors.
        label_embeds: (classes, dim) unit vectors of the prompts.
        threshold: on max over classes of the cosine.

    Source: Wang et al. 2023, arXiv 2305.01864, section 2.2 (domain-specific curation).
    """
    similarities = caption_embeds.astype(np.float32) @ label_embeds.astype(np.float32).T
    labels = similarities.argmax(axis=1)
    nearest = similarities.max(axis=1)
    cut = threshold.resolve(nearest)
    indices = np.flatnonzero(nearest >= cut)
    return SelectedCaptions(indices, labels[indices], nearest[indices], float(cut), float(nearest.max()))
