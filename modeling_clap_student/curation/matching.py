"""Which clips go with which captions: every pair at or above a cosine threshold, in blocks of bounded memory."""

from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from .threshold import Threshold


@dataclass(frozen=True)
class Matches:
    """Pairs of a clip and a caption.

    Attributes:
        clips: (pairs,) int64 rows of the clips.
        captions: (pairs,) int64 rows of the captions.
        similarities: (pairs,) float32 cosines.
        threshold: the cosine that decided.
        highest: the highest cosine of any pair, kept or not.
    """

    clips: np.ndarray
    captions: np.ndarray
    similarities: np.ndarray
    threshold: float
    highest: float


def match(audio_embeds: np.ndarray, text_embeds: np.ndarray, threshold: Threshold, block_size: int = 4096) -> Matches:
    """Finds the pairs, ordered by clip, then caption.

    Cosines are compared in float32: kept in float16, about one decision in a hundred at 0.75 would flip.

    Args:
        audio_embeds: (clips, dim) unit vectors.
        text_embeds: (captions, dim) unit vectors.
        threshold: on the cosine.
        block_size: clips and captions at a time.

    Source: Wang et al. 2023, arXiv 2305.01864, section 2.2.
    """
    audio_embeds, text_embeds = audio_embeds.astype(np.float32), text_embeds.astype(np.float32)
    number = threshold.number_of(len(audio_embeds) * len(text_embeds))
    cut = np.float32(-np.inf if number is not None else threshold.value)
    highest = np.float32(-np.inf)
    kept = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    starts = [(i, j) for i in range(0, len(audio_embeds), block_size) for j in range(0, len(text_embeds), block_size)]
    for i, j in tqdm(starts, desc="matching", unit="block", disable=len(starts) < 20):
        block = audio_embeds[i : i + block_size] @ text_embeds[j : j + block_size].T
        highest = max(highest, block.max())
        clips, captions = np.nonzero(block >= cut)
        found = (clips + i, captions + j, block[clips, captions])
        kept = tuple(np.concatenate(both) for both in zip(kept, found, strict=True))
        if number is not None and len(kept[2]) > number:
            # The best so far bound the final cut from below, so that later blocks add little.
            cut = np.partition(kept[2], len(kept[2]) - number)[len(kept[2]) - number]
            kept = tuple(column[kept[2] >= cut] for column in kept)
    if number is not None:
        cut = kept[2].min()
    order = np.lexsort((kept[1], kept[0]))
    clips, captions, similarities = (column[order] for column in kept)
    return Matches(clips, captions, similarities, float(cut), float(highest))


__all__ = ["Matches", "match"]
