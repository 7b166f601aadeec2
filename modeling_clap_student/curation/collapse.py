"""Signs that a curation collapsed: few labels, captions or clips make up most of it, or sounds are missing.

Each sign is one sentence with the option that helps. The limits are defined in this file.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset

from .embedding_store import StoredVectors
from .strategies import SelectedCaptions


FEW_CLIPS, FEW_CAPTIONS = 10, 2  # so few hold half of the pairs
_ENOUGH_PAIRS, _ENOUGH_CAPTIONS, _ENOUGH_CLIPS = 100, 20, 100  # smaller sets can't have more than a few
_MOST_KEPT = 0.5  # of all pairs of a clip and a caption
_NEAR_SHARE = 0.1  # as a fraction of a label's equal share of the clips near to any label
_ROWS_AT_ONCE, _MOST_CLIPS, _MOST_NAMES = 2**15, 200_000, 8


def selection_signs(selected: SelectedCaptions, class_names: Sequence[str]) -> list[str]:
    """Problems with the selected captions."""
    counts = np.bincount(selected.labels, minlength=len(class_names))
    signs = []
    if missing := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        signs.append(
            f"no caption is near {_listed(missing, class_names)}: lower the cut (--caption_quantile, "
            "--caption_threshold), or add captions that speak of them"
        )
    return signs + _one_label(counts, class_names, "selected captions", "--caption_quantile with a lower value")


def pair_signs(pairs: Dataset, selected: SelectedCaptions | None, class_names: Sequence[str] | None) -> list[str]:
    """Problems with the pairs.

    Args:
        pairs: rows of the Improvement-Set's features.
        selected: the captions that were compared, and `class_names`, if labels selected them.
    """
    table = pairs.select_columns(["label", "audio_id", "caption_id"]).with_format("arrow")[:]
    signs, num_labels, num_compared = [], 0, _ENOUGH_CAPTIONS
    if selected is not None:
        num_labels, num_compared = len(class_names), len(selected.indices)
        found = {row["values"]: row["counts"] for row in pc.value_counts(table["label"]).to_pylist()}
        counts = np.array([found.get(name, 0) for name in class_names])
        has_captions = np.bincount(selected.labels, minlength=num_labels) > 0
        if missing := [name for name, n, has in zip(class_names, counts, has_captions, strict=True) if has and not n]:
            signs.append(
                f"{_listed(missing, class_names)} got captions and no pair: --balance_labels true gives each a share"
            )
        signs += _one_label(counts, class_names, "pairs", "--balance_labels true")
    if len(table) < _ENOUGH_PAIRS:
        return signs
    num_clips, num_captions = (_holding_half(table[key]) for key in ("audio_id", "caption_id"))
    if num_clips <= FEW_CLIPS:
        signs.append(
            f"half of the {len(table)} pairs come from {_count(num_clips, 'clip')}: --max_captions_per_clip 3, "
            "--csls_neighbours 10, or more recordings"
        )
    if num_compared >= _ENOUGH_CAPTIONS and num_captions <= max(FEW_CAPTIONS, num_labels // 4):
        signs.append(
            f"half of the {len(table)} pairs have {_count(num_captions, 'caption')}: --max_clips_per_caption, or "
            "--csls_neighbours 10, or a better teacher"
        )
    return signs


def choice_signs(num_pairs: int, num_clips: int, num_captions: int) -> list[str]:
    """Whether matching chose nothing: most clips were paired with most captions, so most pairs are false."""
    total = num_clips * num_captions
    if total < _ENOUGH_CAPTIONS or num_pairs <= _MOST_KEPT * total:
        return []
    return [
        f"{num_pairs} of the {total} pairs of {_count(num_clips, 'clip')} and {_count(num_captions, 'caption')} were "
        f"kept, so most are false: --num_pairs {max(1, total // 20)} keeps the best 5 %"
    ]


def pool_signs(clip_embeds: StoredVectors, label_embeds: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Labels whose sounds the pool seems to lack.

    A clip counts for its most similar label if that cosine is above the pool's median. A label is named if it has less
    than a tenth of an equal share of the clips. From a large pool, evenly spaced clips are used.
    """
    if len(clip_embeds) < _ENOUGH_CLIPS or len(class_names) < 2:
        return []
    rows = np.arange(0, len(clip_embeds), -(-len(clip_embeds) // _MOST_CLIPS))
    blocks = (clip_embeds[rows[start : start + _ROWS_AT_ONCE]] for start in range(0, len(rows), _ROWS_AT_ONCE))
    best = [((cosines := block @ label_embeds.T).argmax(axis=1), cosines.max(axis=1)) for block in blocks]
    labels, cosines = (np.concatenate(parts) for parts in zip(*best, strict=True))
    near = np.bincount(labels[cosines > np.median(cosines)], minlength=len(class_names))
    limit = _NEAR_SHARE * near.sum() / len(class_names)
    few = [name for name, count in zip(class_names, near, strict=True) if count < limit]
    if not few:
        return []
    return [
        f"few clips of the pool lie near {_listed(few, class_names)}: expect no gain there, unless you add such "
        "recordings or take a better teacher"
    ]


def _one_label(counts: np.ndarray, class_names: Sequence[str], things: str, remedy: str) -> list[str]:
    """Whether the largest label's share is more than half way from an equal share to everything."""
    total, num_labels = int(counts.sum()), len(class_names)
    if num_labels < 2 or total < _ENOUGH_CAPTIONS or counts.max() / total <= (1 + 1 / num_labels) / 2:
        return []
    name = class_names[int(counts.argmax())]
    return [f"{counts.max() / total:.0%} of the {things} have the label {name}, one of {num_labels}: {remedy}"]


def _holding_half(column) -> int:
    """How few of the column's values make up half of its rows."""
    counts = np.sort(pc.value_counts(column).field("counts").to_numpy())[::-1]
    return int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) + 1


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _listed(names: Sequence[str], class_names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{len(names)} of {len(class_names)} labels ({', '.join(names[:_MOST_NAMES])}{more})"
