"""Which captions fit the user's domain: those near the prompt of a class, above a threshold."""

from dataclasses import dataclass

import numpy as np

from ..data.captions import label_text


@dataclass(frozen=True)
class Threshold:
    """Exactly one of three ways to say how much to keep.

    A cosine threshold of one teacher means nothing for another, whose similarities are spread otherwise: hence the
    other two.

    Attributes:
        value: keep cosines of at least this.
        quantile: keep what lies at or above this quantile, in [0, 1]; 0.99 keeps the best hundredth.
        count: keep this many, the best.

    Raises:
        ValueError: none or several given, or one out of range.
    """

    value: float | None = None
    quantile: float | None = None
    count: int | None = None

    def __post_init__(self):
        given = [name for name in ("value", "quantile", "count") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of value, quantile and count, not {' and '.join(given) or 'none'}")
        if self.value is not None and not -1 <= self.value <= 1:
            raise ValueError(f"a cosine threshold must lie in [-1, 1], got {self.value}")
        if self.quantile is not None and not 0 <= self.quantile <= 1:
            raise ValueError(f"a quantile must lie in [0, 1], got {self.quantile}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"the number to keep must be at least 1, got {self.count}")

    def number_of(self, total: int) -> int | None:
        """How many of `total` to keep; None where the value decides."""
        if self.count is not None:
            return min(self.count, total)
        if self.quantile is not None:
            return max(1, round((1 - self.quantile) * total))
        return None

    def resolve(self, similarities: np.ndarray) -> np.float32:
        """The cosine, float32, at or above which to keep; equals at the cut are all kept."""
        number = self.number_of(similarities.size)
        if number is None:
            return np.float32(self.value)
        return np.partition(similarities.ravel(), similarities.size - number)[similarities.size - number]

    def __str__(self) -> str:
        if self.value is not None:
            return f"cosine >= {self.value}"
        if self.quantile is not None:
            return f"quantile {self.quantile}"
        return f"the best {self.count}"


STRATEGIES = ("du", "ds", "ads")
MAX_PAIRS = 50_000_000
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
