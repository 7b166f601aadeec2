"""Retrieval by one model on one captioned set: clips find their captions, and captions find their clips."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..checkpoints.embedding import embed_clips_of_pairs, embed_texts, side_by_side
from ..data.benchmarks import CaptionedSet
from ..data.skipping import SkippedClips
from ..utils.ranking import DIRECTIONS, QueryScores, retrieval_by_query
from .statistics import ItemScores, mean_row, median_interval, score_row


@dataclass(frozen=True)
class RetrievalResult:
    """Scores of both directions."""

    captioned: CaptionedSet
    rows: np.ndarray = field(repr=False)  # (texts,) int, the set's rows whose clip could be read; only these count
    clip_ids: np.ndarray = field(repr=False)  # (clips,) the `audio_id` of each clip
    # `audio_to_text`, whose queries are numbers of `clip_ids`, and `text_to_audio`, numbers of `rows`.
    scores: dict[str, QueryScores] = field(repr=False)

    @property
    def task(self) -> str:
        return self.captioned.name

    def as_rows(self, seed: int = 0) -> list[dict]:
        """`{task, metric, value, n, low, high}` for all scores; n counts queries.

        R@k has Wilson's interval, mAP@10 a bootstrap interval with this seed, and the median rank an interval between
        two ranks. All assume independent queries, which captions of one clip are not quite.
        """
        rows = []
        for way in DIRECTIONS:
            scores = self.scores[way]
            rows += [mean_row(self.task, f"{way}_{name}", values, seed) for name, values in scores.means.items()]
            median, interval = float(np.median(scores.best)), median_interval(scores.best)
            rows.append(score_row(self.task, f"{way}_median_rank", median, len(scores.best), interval))
        return rows

    def item_scores(self) -> dict[str, ItemScores]:
        """Metric -> each query's contribution."""
        return {
            f"{way}_{name}": ItemScores(self.items(way), values)
            for way in DIRECTIONS
            for name, values in self.scores[way].means.items()
        }

    def items(self, way: str) -> np.ndarray:
        """(queries,) the identity of a direction's queries: a clip's id, or a caption's row in the set."""
        return (self.clip_ids if way == "audio_to_text" else self.rows)[self.scores[way].queries]


def find_captioned(
    checkpoints: Mapping[str, tuple], captioned: CaptionedSet, skipped: SkippedClips, batch_size: int = 32
) -> dict[str, RetrievalResult]:
    """Embeds a captioned set, each clip whole and once, and ranks by cosine. Returns each model's result, in their
    order.

    A clip is read once for all models with equal feature extractors. Captions of unreadable clips are left out.
    """
    results = {}
    for names, models, processor in side_by_side(checkpoints):
        audio_embeds, clip_of_text = embed_clips_of_pairs(
            models, processor, captioned.pairs, skipped, batch_size, description=f"evaluating on {captioned.name}"
        )
        rows = np.flatnonzero(clip_of_text >= 0)
        pairs = captioned.pairs.select(rows)
        _, first = np.unique(clip_of_text[rows], return_index=True)
        clip_ids = np.array(pairs["audio_id"])[first]
        for place, name in enumerate(names):
            text_embeds = embed_texts(*checkpoints[name], pairs["caption"][:])
            scores = retrieval_by_query(audio_embeds[:, place], text_embeds, clip_of_text[rows])
            results[name] = RetrievalResult(captioned, rows, clip_ids, scores)
    return {name: results[name] for name in checkpoints}
